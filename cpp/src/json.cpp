#include "json.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>
#include <unordered_set>

#include "text.hpp"

namespace padre3d {
namespace {

constexpr int kDeepest = 200;
constexpr std::size_t kMostDigits = 4300;  // as Python's int

void append_utf8(std::string& out, std::uint32_t code) {
    if (code < 0x80) {
        out += static_cast<char>(code);
        return;
    }
    const int tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const int lead[] = {0, 0xc0, 0xe0, 0xf0};
    out += static_cast<char>(lead[tail] | (code >> (6 * tail)));
    for (int i = tail - 1; i >= 0; --i) {
        out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3f));
    }
}

class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    Json document() {
        Json result = value(0);
        skip_space();
        if (at_ != text_.size()) refuse("the end");
        return result;
    }

private:
    Json value(int depth) {
        if (depth > kDeepest) refuse("fewer levels");
        skip_space();
        switch (peek()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': return string_value();
            case 't': return word("true", true);
            case 'f': return word("false", false);
            case 'n': expect("null"); return {};
            default: return number();
        }
    }

    Json object(int depth) {
        Json result;
        result.kind = Json::Kind::object;
        std::unordered_set<std::string> seen;
        ++at_;
        if (next_is('}')) return result;
        do {
            skip_space();
            std::string key = string();
            if (!seen.insert(key).second) {
                fail("expected JSON with different keys in an object, got ", in_quotes(key),
                     " twice");
            }
            if (!next_is(':')) refuse("':'");
            result.members.emplace_back(std::move(key), value(depth + 1));
        } while (next_is(','));
        if (!next_is('}')) refuse("',' or '}'");
        return result;
    }

    Json array(int depth) {
        Json result;
        result.kind = Json::Kind::array;
        ++at_;
        if (next_is(']')) return result;
        do {
            result.items.push_back(value(depth + 1));
        } while (next_is(','));
        if (!next_is(']')) refuse("',' or ']'");
        return result;
    }

    Json word(std::string_view spelt, bool value) {
        expect(spelt);
        Json result;
        result.kind = Json::Kind::boolean;
        result.boolean = value;
        return result;
    }

    Json string_value() {
        Json result;
        result.kind = Json::Kind::string;
        result.string = string();
        return result;
    }

    Json number() {
        const std::size_t start = at_;
        if (peek() == '-') ++at_;
        if (peek() == '0') {
            ++at_;
        } else if (digits() == 0) {
            at_ = start;
            refuse("a value");
        }
        Json result;
        result.kind = Json::Kind::integer;
        const std::size_t whole_end = at_;
        if (peek() == '.') {
            ++at_;
            if (digits() == 0) refuse("a digit");
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            if (digits() == 0) refuse("a digit");
        }
        if (at_ != whole_end) result.kind = Json::Kind::real;
        convert(text_.substr(start, at_ - start), result);
        return result;
    }

    static void convert(std::string_view spelt, Json& result) {
        std::istringstream stream{std::string(spelt)};
        stream.imbue(std::locale::classic());
        stream >> result.real;
        if (stream.fail()) {
            result.real = std::copysign(std::numeric_limits<double>::infinity(),
                                        spelt[0] == '-' ? -1.0 : 1.0);
        }
        if (result.kind == Json::Kind::real) {
            if (std::isinf(result.real))
                fail("expected JSON, got the number ", spelt.substr(0, 40));
            return;
        }
        if (spelt.size() > kMostDigits) {
            fail("expected JSON, got a number of ", spelt.size(), " digits");
        }
        std::istringstream whole{std::string(spelt)};
        whole.imbue(std::locale::classic());
        whole >> result.integer;  // the nearest one where it does not fit
    }

    std::size_t digits() {
        const std::size_t start = at_;
        while (peek() >= '0' && peek() <= '9') ++at_;
        return at_ - start;
    }

    std::string string() {
        if (peek() != '"') refuse("a string");
        ++at_;
        std::string result;
        while (true) {
            if (at_ >= text_.size()) refuse("the end of a string");
            const auto byte = static_cast<unsigned char>(text_[at_]);
            if (byte == '"') {
                ++at_;
                return result;
            }
            if (byte < 0x20) refuse("no control character in a string");
            if (byte == '\\') {
                escape(result);
            } else if (byte < 0x80) {
                result += text_[at_++];
            } else {
                copy_character(result);
            }
        }
    }

    void escape(std::string& out) {
        static constexpr std::string_view kNames = "\"\\/bfnrt";
        static constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
        ++at_;
        const std::size_t which = at_ < text_.size() ? kNames.find(text_[at_]) : kNames.npos;
        if (which != kNames.npos) {
            ++at_;
            out += kValues[which];
            return;
        }
        std::uint32_t code = hexadecimal();
        const bool leads = code >= 0xd800 && code < 0xdc00;
        if (leads && text_.substr(at_, 2) == "\\u") {
            const std::size_t before = at_++;
            const std::uint32_t low = hexadecimal();
            if (low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            } else {
                at_ = before;
            }
        }
        append_utf8(out, code);
    }

    /// The number behind "u"; a lone half of a pair is kept, as Python does.
    std::uint32_t hexadecimal() {
        if (peek() != 'u' || at_ + 5 > text_.size()) refuse("an escape");
        std::uint32_t code = 0;
        for (const char digit : text_.substr(at_ + 1, 4)) {
            const bool letter = (digit >= 'a' && digit <= 'f') || (digit >= 'A' && digit <= 'F');
            if (!letter && !(digit >= '0' && digit <= '9')) refuse("four hexadecimal digits");
            const int value = letter ? (digit | 32) - 'a' + 10 : digit - '0';
            code = code * 16 + static_cast<std::uint32_t>(value);
        }
        at_ += 5;
        return code;
    }

    /// One character of valid UTF-8: no longer form than needed, no surrogate.
    void copy_character(std::string& out) {
        const auto lead = static_cast<unsigned char>(text_[at_]);
        const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (lead < 0xc2 || lead > 0xf4 || at_ + length > text_.size()) refuse("UTF-8");
        std::uint32_t code = lead & (0x7fU >> length);
        for (std::size_t i = 1; i < length; ++i) {
            const auto byte = static_cast<unsigned char>(text_[at_ + i]);
            if ((byte & 0xc0) != 0x80) refuse("UTF-8");
            code = code << 6 | (byte & 0x3fU);
        }
        static const std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            refuse("UTF-8");
        }
        out.append(text_.substr(at_, length));
        at_ += length;
    }

    void expect(std::string_view spelt) {
        if (text_.substr(at_, spelt.size()) != spelt) refuse("a value");
        at_ += spelt.size();
    }

    bool next_is(char wanted) {
        skip_space();
        if (peek() != wanted) return false;
        ++at_;
        return true;
    }

    void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size()); }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    [[noreturn]] void refuse(const char* wanted) const {
        fail("expected JSON, got no ", wanted, " at byte ", at_);
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const {
    for (const auto& [name, value] : members) {
        if (name == key) return &value;
    }
    return nullptr;
}

const char* Json::kind_name() const {
    static const char* names[] = {"null",     "a boolean", "an integer", "a number",
                                  "a string", "an array",  "an object"};
    return names[static_cast<int>(kind)];
}

Json parse_json(std::string_view text) { return Parser(text).document(); }

}  // namespace padre3d
