#include "json_field.hpp"

#include <algorithm>
#include <cmath>

namespace padre3d {

double Field::number() const {
    if (value_.kind != Json::Kind::integer && value_.kind != Json::Kind::real) refuse("a number");
    if (!std::isfinite(value_.real))
        fail("expected a number, got one out of range - at `", path_, "`");
    return value_.real;
}

std::int64_t Field::integer(std::int64_t least, std::int64_t most) const {
    const std::int64_t value = integer();
    if (value < least || value > most) {
        fail("expected an integer from ", least, " to ", most, ", got ", value, " - at `", path_,
             "`");
    }
    return value;
}

const std::string& Field::word() const {
    const std::string& value = string();
    const auto characters =
        std::count_if(value.begin(), value.end(), [](char byte) { return (byte & 0xc0) != 0x80; });
    if (characters < 1 || characters > 200) {
        fail("expected a string of 1 to 200 characters, got ", characters, " - at `", path_, "`");
    }
    return value;
}

std::vector<Field> Field::items(std::size_t least) const {
    const Json& array = of(Json::Kind::array, "an array");
    if (array.items.size() < least) {
        fail("expected an array of length >= ", least, ", got ", array.items.size(), " - at `",
             path_, "`");
    }
    std::vector<Field> result;
    for (std::size_t i = 0; i < array.items.size(); ++i) {
        result.emplace_back(array.items[i], text(path_, "[", i, "]"));
    }
    return result;
}

std::vector<double> Field::numbers() const {
    std::vector<double> result;
    for (const Field& item : items()) result.push_back(item.number());
    return result;
}

}  // namespace padre3d
