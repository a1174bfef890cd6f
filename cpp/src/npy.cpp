#include "npy.hpp"

#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::size_t kMostHeader = 10'000;

/// The dictionary of a header: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class Header {
public:
    explicit Header(std::string_view text) : text_(text) {}

    NpyArray read() {
        NpyArray array;
        int found = 0;
        expect('{');
        while (!next_is('}')) {
            const std::string key = string();
            expect(':');
            if (key == "descr") {
                array.dtype = string();
            } else if (key == "fortran_order") {
                array.fortran_order = boolean();
            } else if (key == "shape") {
                array.shape = tuple();
            } else {
                fail("a header with ", in_quotes(key));
            }
            found += 1;
            if (!next_is(',')) {
                expect('}');
                break;
            }
        }
        skip_space();
        if (found != 3 || at_ != text_.size()) fail("a header that is none");
        return array;
    }

private:
    std::string string() {
        skip_space();
        const char quote = peek();
        if (quote != '\'' && quote != '"') fail("a header without a name or with fields");
        const std::size_t end = text_.find(quote, at_ + 1);
        if (end == text_.npos) fail("a header that is cut off");
        std::string result(text_.substr(at_ + 1, end - at_ - 1));
        at_ = end + 1;
        return result;
    }

    bool boolean() {
        skip_space();
        for (const std::string_view word : {"True", "False"}) {
            if (text_.substr(at_, word.size()) == word) {
                at_ += word.size();
                return word == "True";
            }
        }
        fail("a header without an order");
    }

    std::vector<std::size_t> tuple() {
        std::vector<std::size_t> shape;
        expect('(');
        while (!next_is(')')) {
            shape.push_back(length());
            if (!next_is(',')) {
                expect(')');
                break;
            }
        }
        return shape;
    }

    std::size_t length() {
        skip_space();
        const std::size_t start = at_;
        std::size_t value = 0;
        while (peek() >= '0' && peek() <= '9' && at_ - start < 16) {
            value = value * 10 + static_cast<std::size_t>(text_[at_++] - '0');
        }
        if (at_ == start) fail("a shape without a length");
        return value;
    }

    void expect(char wanted) {
        if (!next_is(wanted)) fail("a header without '", wanted, "'");
    }

    bool next_is(char wanted) {
        skip_space();
        if (peek() != wanted) return false;
        ++at_;
        return true;
    }

    void skip_space() {
        while (peek() == ' ' || peek() == '\n') ++at_;
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    std::string_view text_;
    std::size_t at_ = 0;
};

/// Bytes of one element: the number at the end of the type, times 4 for characters.
std::size_t item_size(const std::string& dtype) {
    const bool shaped =
        dtype.size() >= 3 && std::string_view("<>|=").find(dtype[0]) != std::string::npos;
    if (!shaped || dtype[1] == 'O') fail("an array of ", in_quotes(dtype));
    std::size_t size = 0;
    for (const char digit : dtype.substr(2)) {
        if (digit < '0' || digit > '9' || size > 1'000'000) fail("an array of ", in_quotes(dtype));
        size = size * 10 + static_cast<std::size_t>(digit - '0');
    }
    return dtype[1] == 'U' ? 4 * size : size;
}

template <class From, class To>
std::vector<To> converted(const std::string& data, std::size_t count) {
    std::vector<To> result(count);
    for (std::size_t i = 0; i < count; ++i) {
        From value;
        std::memcpy(&value, data.data() + i * sizeof(From), sizeof(From));
        result[i] = static_cast<To>(value);
    }
    return result;
}

template <class To>
std::vector<To> from_halves(const std::string& data, std::size_t count) {
    std::vector<To> result(count);
    for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t half;
        std::memcpy(&half, data.data() + 2 * i, 2);
        result[i] = half_to_float(half);
    }
    return result;
}

/// From columns one behind the other to rows.
template <class T>
std::vector<T> by_rows(const std::vector<T>& values, const std::vector<std::size_t>& shape) {
    if (shape.size() != 2) fail("an array in Fortran order with ", shape.size(), " axes");
    std::vector<T> result(values.size());
    for (std::size_t row = 0; row < shape[0]; ++row) {
        for (std::size_t column = 0; column < shape[1]; ++column) {
            result[row * shape[1] + column] = values[column * shape[0] + row];
        }
    }
    return result;
}

}  // namespace

std::size_t NpyArray::size() const {
    std::size_t count = 1;
    for (const std::size_t length : shape) count *= length;
    return count;
}

template <class T>
std::vector<T> NpyArray::numbers() const {
    const std::string name = kind();
    const std::size_t count = size();
    std::vector<T> values;
    if (dtype[0] == '>') fail("numbers of ", in_quotes(dtype));
    if (name == "f2")
        values = from_halves<T>(data, count);
    else if (name == "f4")
        values = converted<float, T>(data, count);
    else if (name == "f8")
        values = converted<double, T>(data, count);
    else if (name == "i1")
        values = converted<std::int8_t, T>(data, count);
    else if (name == "i2")
        values = converted<std::int16_t, T>(data, count);
    else if (name == "i4")
        values = converted<std::int32_t, T>(data, count);
    else if (name == "i8")
        values = converted<std::int64_t, T>(data, count);
    else if (name == "u1")
        values = converted<std::uint8_t, T>(data, count);
    else if (name == "u2")
        values = converted<std::uint16_t, T>(data, count);
    else if (name == "u4")
        values = converted<std::uint32_t, T>(data, count);
    else if (name == "u8")
        values = converted<std::uint64_t, T>(data, count);
    else
        fail("real numbers expected, got ", in_quotes(dtype));
    return fortran_order && shape.size() > 1 ? by_rows(values, shape) : values;
}

template std::vector<float> NpyArray::numbers<float>() const;
template std::vector<double> NpyArray::numbers<double>() const;
template std::vector<std::int32_t> NpyArray::numbers<std::int32_t>() const;
template std::vector<std::int64_t> NpyArray::numbers<std::int64_t>() const;

NpyArray parse_npy(std::string_view bytes) {
    static constexpr std::string_view kMagic = "\x93NUMPY";
    if (bytes.size() < 10 || bytes.substr(0, 6) != kMagic) fail("no .npy array");
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    const bool is_long = byte(6) != 1;
    if (byte(6) < 1 || byte(6) > 3 || byte(7) != 0 || bytes.size() < 12) {
        fail("a .npy array of version ", int{byte(6)});
    }
    std::size_t length = byte(8) | static_cast<std::size_t>(byte(9)) << 8;
    if (is_long)
        length |= static_cast<std::size_t>(byte(10)) << 16 | static_cast<std::size_t>(byte(11))
                                                                 << 24;
    const std::size_t start = is_long ? 12 : 10;
    if (length > kMostHeader || length > bytes.size() - start)
        fail("a header of ", length, " bytes");
    NpyArray array = Header(bytes.substr(start, length)).read();
    const std::string_view body = bytes.substr(start + length);
    std::size_t promised = item_size(array.dtype);
    for (const std::size_t axis : array.shape) {
        if (axis != 0 && promised > (std::size_t{1} << 48) / axis)
            fail("an array of too many bytes");
        promised *= axis;
    }
    if (body.size() < promised) {
        fail("an array of shape ", shape_text(array.shape), ", ", promised, " bytes, got ",
             body.size());
    }
    array.data = std::string(body.substr(0, promised));
    return array;
}

float half_to_float(std::uint16_t half) {
    const int exponent = half >> 10 & 31;
    const int fraction = half & 1023;
    float size = 0;
    if (exponent == 31) {
        size = fraction == 0 ? HUGE_VALF : std::nanf("");
    } else if (exponent == 0) {
        size = std::ldexp(static_cast<float>(fraction), -24);
    } else {
        size = std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    }
    return (half & 0x8000) != 0 ? -size : size;
}

}  // namespace padre3d
