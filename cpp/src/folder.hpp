#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace padre3d {

/// Whether a name is that of a file, without a path, a leading dot or unusual characters.
bool is_plain_name(std::string_view name);

/// Where a path leads if it is that of a link, or of links to links; to nothing perhaps.
std::filesystem::path behind_links(std::filesystem::path path);

/// The path of a regular file of a folder that may come from anywhere.
/// Throws Error if the name is not plain, or what is there is none, a folder, a device or a link
/// that leaves the folder.
std::filesystem::path file_inside(const std::filesystem::path& folder, const std::string& name);

/// Checks that a file of the folder is the exported one.
/// Throws Error as file_inside, or if the checksum differs.
void check_hash(const std::filesystem::path& folder, const std::string& name,
                const std::string& expected);

/// All bytes of a file.
/// Throws Error if it cannot be read.
std::string read_bytes(const std::filesystem::path& path);

}  // namespace padre3d
