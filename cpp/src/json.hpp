#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace padre3d {

/// A JSON value.
struct Json {
    enum class Kind { null, boolean, integer, real, string, array, object };

    Kind kind = Kind::null;
    bool boolean = false;
    std::int64_t integer = 0;  ///< the nearest that 64 bits hold
    double real = 0;           ///< of integers too; infinity if it does not hold them
    std::string string;        ///< UTF-8
    std::vector<Json> items;
    std::vector<std::pair<std::string, Json>> members;

    /// The member of an object, nullptr if there is none.
    const Json* find(std::string_view key) const;
    /// "an object", "a string", ... for messages.
    const char* kind_name() const;
};

/// Parses RFC 8259 and nothing else: no NaN, no number beyond a double with a fraction or an
/// exponent, no key twice in an object, no invalid UTF-8.
/// Throws Error with the position.
Json parse_json(std::string_view text);

}  // namespace padre3d
