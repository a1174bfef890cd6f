#pragma once

#include <cstdint>
#include <string_view>

namespace padre3d {

/// The characters of valid UTF-8 (halves of surrogate pairs included), one at each call.
/// `at` must be below the size of `text` and moves on.
std::uint32_t next_character(std::string_view text, std::size_t& at);

/// Whether a name stays on its line: no control, format, separator or private character, no half
/// of a surrogate pair. Python's str.isprintable also knows which numbers are not assigned.
bool is_printable(std::string_view text);

}  // namespace padre3d
