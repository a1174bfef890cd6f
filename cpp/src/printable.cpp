#include "printable.hpp"

#include <cstddef>

namespace padre3d {

std::uint32_t next_character(std::string_view text, std::size_t& at) {
    const auto lead = static_cast<unsigned char>(text[at++]);
    if (lead < 0x80) return lead;
    std::uint32_t code = lead >= 0xf0 ? lead & 7U : lead >= 0xe0 ? lead & 15U : lead & 31U;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) {
        code = code << 6 | (static_cast<unsigned char>(text[at++]) & 63U);
    }
    return code;
}

bool is_printable(std::string_view text) {
    struct Range {
        std::uint32_t low, high;
    };
    static constexpr Range hidden[] = {
        {0x0, 0x1f},      {0x7f, 0xa0},       {0xad, 0xad},     {0x600, 0x605},   {0x61c, 0x61c},
        {0x6dd, 0x6dd},   {0x70f, 0x70f},     {0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200f},
        {0x2028, 0x202f}, {0x205f, 0x206f},   {0x3000, 0x3000}, {0xd800, 0xf8ff}, {0xfeff, 0xfeff},
        {0xfff0, 0xfffb}, {0xe0000, 0x10ffff}};
    for (std::size_t at = 0; at < text.size();) {
        const std::uint32_t code = next_character(text, at);
        for (const Range& range : hidden) {
            if (code >= range.low && code <= range.high) return false;
        }
    }
    return true;
}

}  // namespace padre3d
