#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace padre3d {

enum class Type { float32, int32, int64, boolean };

/// An array that someone else owns.
struct TensorView {
    Type type = Type::float32;
    std::vector<std::size_t> shape;
    const void* data = nullptr;

    std::size_t size() const {
        std::size_t count = 1;
        for (const std::size_t length : shape) count *= length;
        return count;
    }
    const float* floats() const { return static_cast<const float*>(data); }
};

using Tensors = std::map<std::string, TensorView>;

inline std::size_t bytes_of(Type type) {
    switch (type) {
        case Type::int64: return 8;
        case Type::boolean: return 1;
        default: return 4;
    }
}

inline const char* name_of(Type type) {
    static const char* names[] = {"float32", "int32", "int64", "bool"};
    return names[static_cast<int>(type)];
}

}  // namespace padre3d
