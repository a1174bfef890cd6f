#include "text.hpp"

namespace padre3d {

std::string in_quotes(std::string_view value) {
    static const char* digits = "0123456789abcdef";
    std::string result = "'";
    for (const char character : value.substr(0, 80)) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte >= 0x20 && byte < 0x7f) {
            result += character;
        } else {
            result += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        }
    }
    return result + "'";
}

}  // namespace padre3d
