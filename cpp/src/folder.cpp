#include "folder.hpp"

#include <fstream>
#include <iterator>

#include "sha256.hpp"
#include "text.hpp"

namespace padre3d {
namespace fs = std::filesystem;

namespace {

constexpr int kMostLinks = 40;

/// The folder that a path leads into, through links that may lead to nothing.
fs::path folder_behind(const fs::path& path) {
    std::error_code error;
    return fs::weakly_canonical(behind_links(path).parent_path(), error);
}

}  // namespace

fs::path behind_links(fs::path path) {
    std::error_code error;
    for (int i = 0; i < kMostLinks && fs::is_symlink(path, error); ++i) {
        path = path.parent_path() / fs::read_symlink(path, error);
    }
    return path;
}

bool is_plain_name(std::string_view name) {
    const auto is_word = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
    };
    if (name.empty() || name.size() > 200 || !is_word(name[0])) return false;
    for (const char c : name) {
        if (!is_word(c) && c != '.' && c != '+' && c != '-') return false;
    }
    return true;
}

fs::path file_inside(const fs::path& folder, const std::string& name) {
    if (!is_plain_name(name)) {
        fail(folder.string(), ": expected the plain name of a file, got ", in_quotes(name));
    }
    const fs::path path = folder / name;
    std::error_code error;
    if (folder_behind(path) != fs::weakly_canonical(folder, error)) {
        fail(path.string(), ": expected a file in the folder, got a link that leaves it");
    }
    if (!fs::exists(path, error)) {
        fail(path.string(), ": named in the manifest, but there is none");
    }
    if (!fs::is_regular_file(path, error)) {
        fail(path.string(), ": expected a file, got a folder or a device");
    }
    return path;
}

void check_hash(const fs::path& folder, const std::string& name, const std::string& expected) {
    const fs::path path = file_inside(folder, name);
    if (sha256(path) != expected) {
        fail(path.string(), ": expected the exported file with sha256 ", expected.substr(0, 12),
             "...: the file is damaged or belongs to another export");
    }
}

std::string read_bytes(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes;
    try {
        bytes.assign(std::istreambuf_iterator<char>(file), {});
    } catch (const std::ios_base::failure&) {
        // The iterator passes by the stream, which would have kept this: a folder, a broken disk.
        file.setstate(std::ios::badbit);
    }
    if (!file) fail(path.string(), ": expected a file that can be read");
    return bytes;
}

}  // namespace padre3d
