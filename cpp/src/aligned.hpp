#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace padre3d {

/// Memory that starts where a cache line does, for rows that are read with wide instructions.
template <class T>
struct AlignedAllocator {
    using value_type = T;
    static constexpr std::align_val_t kLine{64};

    AlignedAllocator() = default;
    template <class U>
    AlignedAllocator(const AlignedAllocator<U>&) {}

    T* allocate(std::size_t count) {
        return static_cast<T*>(::operator new(count * sizeof(T), kLine));
    }
    void deallocate(T* memory, std::size_t) { ::operator delete(memory, kLine); }

    template <class U>
    bool operator==(const AlignedAllocator<U>&) const {
        return true;
    }
    template <class U>
    bool operator!=(const AlignedAllocator<U>&) const {
        return false;
    }
};

using Floats = std::vector<float, AlignedAllocator<float>>;

}  // namespace padre3d
