#pragma once

#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "padre3d/error.hpp"

namespace padre3d {

/// The parts one behind the other.
template <class... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream stream;
    stream.imbue(std::locale::classic());
    (stream << ... << parts);
    return stream.str();
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw Error(text(parts...));
}

/// In quotes, at most 80 bytes, with escapes for all but printable ASCII: it stays on its line.
std::string in_quotes(std::string_view value);

/// With small ASCII letters.
std::string lower(std::string text);

/// The number that a text is but for spaces around it, whatever the locale; nothing else is one.
std::optional<double> number_in(const std::string& word);

/// `shape` as (1, 2, 3).
template <class Shape>
std::string shape_text(const Shape& shape) {
    std::ostringstream stream;
    stream.imbue(std::locale::classic());
    for (const auto length : shape) stream << (stream.tellp() > 0 ? ", " : "") << length;
    return "(" + stream.str() + ")";
}

}  // namespace padre3d
