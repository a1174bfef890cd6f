#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json.hpp"
#include "text.hpp"

namespace padre3d {

/// A value of a JSON document with its path; what is not of the type asked for is an Error.
class Field {
public:
    Field(const Json& value, std::string path) : value_(value), path_(std::move(path)) {}

    /// A member that must be there.
    Field operator[](const char* key) const {
        const Json* found = object().find(key);
        if (found == nullptr) fail("expected the field `", key, "`, got none - at `", path_, "`");
        return {*found, path_ + "." + key};
    }

    /// A member that may be absent.
    std::optional<Field> optional(const char* key) const {
        const Json* found = object().find(key);
        if (found == nullptr) return std::nullopt;
        return Field(*found, path_ + "." + key);
    }

    bool is_null() const { return value_.kind == Json::Kind::null; }
    bool is_array() const { return value_.kind == Json::Kind::array; }
    bool is_string() const { return value_.kind == Json::Kind::string; }

    const Json& object() const { return of(Json::Kind::object, "an object"); }
    const std::string& string() const { return of(Json::Kind::string, "a string").string; }
    bool boolean() const { return of(Json::Kind::boolean, "a boolean").boolean; }
    std::int64_t integer() const { return of(Json::Kind::integer, "an integer").integer; }

    /// A whole number or one with a fraction.
    double number() const;
    std::int64_t integer(std::int64_t least, std::int64_t most) const;
    /// 1 to 200 characters.
    const std::string& word() const;
    /// The items of an array of at least so many.
    std::vector<Field> items(std::size_t least = 0) const;
    std::vector<double> numbers() const;

private:
    const Json& of(Json::Kind kind, const char* name) const {
        if (value_.kind != kind) refuse(name);
        return value_;
    }
    [[noreturn]] void refuse(const std::string& wanted) const {
        fail("expected ", wanted, ", got ", value_.kind_name(), " - at `", path_, "`");
    }

    const Json& value_;
    std::string path_;
};

}  // namespace padre3d
