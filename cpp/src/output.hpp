#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace padre3d {

/// A file that an option wants to be written.
struct Target {
    std::string option;
    std::filesystem::path path;  ///< empty: none
};

/// Refuses to write over an input, two files over each other, or where a folder is.
/// Throws Error naming both.
void check_targets(const std::vector<Target>& targets,
                   const std::vector<std::filesystem::path>& inputs);

/// Writes a file under a temporary name beside it and moves it there in one step: a reader never
/// sees half a file, and a failed write leaves the old one and nothing else. A link keeps being
/// one; what is no regular file, such as /dev/null or a pipe, is written to.
/// Throws Error if it cannot be written.
void write_file(const std::filesystem::path& path, const std::string& content);

}  // namespace padre3d
