#include "text.hpp"

#include <algorithm>

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

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return text;
}

std::optional<double> number_in(const std::string& word) {
    std::istringstream stream(word);
    stream.imbue(std::locale::classic());
    double value = 0;
    if (!(stream >> value)) return std::nullopt;
    stream >> std::ws;
    return stream.eof() ? std::optional(value) : std::nullopt;
}

}  // namespace padre3d
