#include "padre3d/boxes_json.hpp"

#include <array>
#include <cmath>
#include <initializer_list>
#include <iomanip>
#include <locale>
#include <sstream>

#include "printable.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

/// Four digits at most, as Python's repr writes such a number.
std::string number(double value) {
    std::ostringstream stream;
    stream.imbue(std::locale::classic());
    stream << std::fixed << std::setprecision(4) << value;
    std::string result = stream.str();
    while (result.back() == '0' && result[result.size() - 2] != '.') result.pop_back();
    return result;
}

/// numpy's rounding: the product is rounded, half to even.
double rounded(double value) { return std::nearbyint(value * 1e4) / 1e4; }

std::string escaped(const std::string& name) {
    std::string result;
    const auto unit = [&](std::uint32_t code) {
        result += "\\u";
        for (int shift = 12; shift >= 0; shift -= 4)
            result += "0123456789abcdef"[code >> shift & 15];
    };
    for (std::size_t at = 0; at < name.size();) {
        const std::uint32_t code = next_character(name, at);
        if (code == '"' || code == '\\') {
            result += {'\\', static_cast<char>(code)};
        } else if (code >= 0x20 && code < 0x7f) {
            result += static_cast<char>(code);
        } else if (code < 0x10000) {
            unit(code);
        } else {
            unit(0xd800 + ((code - 0x10000) >> 10));
            unit(0xdc00 + ((code - 0x10000) & 0x3ff));
        }
    }
    return result;
}

std::string list(std::initializer_list<double> values) {
    std::string result;
    for (const double value : values) {
        result += result.empty() ? "[\n    " : ",\n    ";
        result += std::isnan(value) ? "null" : number(rounded(value));
    }
    return result + "\n   ]";
}

/// Refuses what Python refuses: padre3d.structures.boxes.box_arrays.
void check(const Box& box, std::size_t row, std::size_t classes) {
    const std::array<double, 9> values = {box.x,      box.y,   box.z,  box.length, box.width,
                                          box.height, box.yaw, box.vx, box.vy};
    bool good = std::isfinite(box.score) && box.length > 0 && box.width > 0 && box.height > 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        // A velocity that nobody knows is NaN.
        good = good && (std::isfinite(values[i]) || (i >= 7 && std::isnan(values[i])));
    }
    if (!good) {
        fail("boxes: expected finite numbers and positive sizes, got ", shape_text(values),
             " with score ", box.score, " at row ", row);
    }
    if (box.label < 0 || static_cast<std::size_t>(box.label) >= classes) {
        fail("labels: expected 0 to ", static_cast<std::int64_t>(classes) - 1, ", got ", box.label,
             " at row ", row);
    }
}

std::string record(const Box& box, const std::string& name) {
    return "  {\n   \"name\": \"" + escaped(name) + "\",\n   \"score\": " + number(box.score) +
           ",\n   \"center_m\": " + list({box.x, box.y, box.z}) +
           ",\n   \"size_lwh_m\": " + list({box.length, box.width, box.height}) +
           ",\n   \"yaw_rad\": " + number(rounded(box.yaw)) +
           ",\n   \"velocity_mps\": " + list({box.vx, box.vy}) + "\n  }";
}

}  // namespace

std::string boxes_to_json(const std::vector<Box>& boxes, const std::vector<std::string>& names) {
    std::string result;
    for (std::size_t row = 0; row < boxes.size(); ++row) {
        const Box& box = boxes[row];
        check(box, row, names.size());
        const std::string& name = names[static_cast<std::size_t>(box.label)];
        result += (result.empty() ? "\n" : ",\n") + record(box, name);
    }
    return "{\n \"boxes\": [" + result + (boxes.empty() ? "]" : "\n ]") + "\n}\n";
}

}  // namespace padre3d
