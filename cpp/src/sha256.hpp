#pragma once

#include <filesystem>
#include <string>

namespace padre3d {

/// The SHA-256 (FIPS 180-4) of a file in hexadecimal digits.
/// Throws Error if it cannot be read.
std::string sha256(const std::filesystem::path& path);

}  // namespace padre3d
