#include "output.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "folder.hpp"
#include "text.hpp"

namespace padre3d {
namespace fs = std::filesystem;
namespace {

/// The file behind links, whether there is one or not.
fs::path real_path(const fs::path& path) {
    std::error_code error;
    const fs::path file = behind_links(fs::absolute(path, error));
    const fs::path folder = fs::weakly_canonical(file.parent_path(), error);
    // Empty on an error: the name alone would be a file of the current folder.
    return error ? file : folder / file.filename();
}

bool is_device(const fs::path& path) {
    std::error_code error;
    return fs::is_other(fs::status(path, error));
}

/// Whether two names are those of one file: links, hard links, relative paths.
bool is_same(const fs::path& one, const fs::path& other) {
    std::error_code error;
    return fs::equivalent(one, other, error) || real_path(one) == real_path(other);
}

[[noreturn]] void refuse(const fs::path& named) {
    fail(named.string(), ": expected a file that can be written");
}

void write_all(const fs::path& path, const std::string& content, const fs::path& named) {
    std::ofstream file(path, std::ios::binary);
    file << content << std::flush;
    if (!file) refuse(named);
}

/// A new file of a name that no other has, which is gone unless it is moved.
class Part {
public:
    Part(const fs::path& target, const fs::path& named)
        : name_((target.parent_path() / ("." + target.filename().string() + ".XXXXXX")).string()) {
        const int file = mkstemp(name_.data());
        if (file < 0) refuse(named);
        close(file);
    }
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    ~Part() {
        std::error_code error;
        if (!is_moved_) fs::remove(name_, error);
    }

    fs::path path() const { return name_; }

    void move_to(const fs::path& target, const fs::path& named) {
        // mkstemp makes files private; give this one the permissions a plain open would.
        const mode_t mask = umask(0);
        umask(mask);
        std::error_code error;
        // Some network mounts know no permissions; the file is worth more.
        fs::permissions(name_, static_cast<fs::perms>(0666 & ~mask), error);
        fs::rename(name_, target, error);
        if (error) fail(named.string(), ": ", error.message());
        is_moved_ = true;
    }

private:
    std::string name_;
    bool is_moved_ = false;
};

}  // namespace

void check_targets(const std::vector<Target>& targets, const std::vector<fs::path>& inputs) {
    for (auto target = targets.begin(); target != targets.end(); ++target) {
        if (target->path.empty()) continue;
        const std::string start =
            text(target->option, " ", target->path.string(), ": expected a file ");
        for (const fs::path& input : inputs) {
            if (is_same(target->path, input)) {
                fail(start, "of its own, got the input ", input.string());
            }
        }
        for (auto other = targets.begin(); other != target; ++other) {
            if (other->path.empty() || is_device(other->path)) continue;
            if (is_same(target->path, other->path)) {
                fail(start, "of its own, got the file of ", other->option, " ",
                     other->path.string());
            }
        }
        std::error_code error;
        if (fs::is_directory(target->path, error)) fail(start, "to write, got a folder");
    }
}

void write_file(const fs::path& path, const std::string& content) {
    if (is_device(path)) {
        write_all(path, content, path);
        return;
    }
    const fs::path target = real_path(path);
    Part part(target, path);
    write_all(part.path(), content, path);
    part.move_to(target, path);
}

}  // namespace padre3d
