#include "poses.hpp"

#include <algorithm>
#include <array>
#include <locale>
#include <sstream>

#include "folder.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::array<const char*, 8> kColumns = {"stamp", "x", "y", "z", "qw", "qx", "qy", "qz"};

std::vector<std::string> cells_of(const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) {
        const std::size_t start = cell.find_first_not_of(" \t\r\"");
        const std::size_t end = cell.find_last_not_of(" \t\r\"");
        cells.push_back(start == cell.npos ? "" : cell.substr(start, end - start + 1));
    }
    return cells;
}

double number_of(const std::string& cell, std::size_t row) {
    std::istringstream stream(cell);
    stream.imbue(std::locale::classic());
    double value = 0;
    if (!(stream >> value) || !stream.eof()) {
        fail("expected numbers in every row, got ", in_quotes(cell), " in row ", row);
    }
    return value;
}

double seconds(double stamp) {
    static constexpr double kUnits[][2] = {{1e17, 1e-9}, {1e14, 1e-6}, {1e11, 1e-3}};
    for (const auto& [least, unit] : kUnits) {
        if (stamp >= least) return stamp * unit;
    }
    return stamp;
}

std::vector<StampedPose> table_of(const std::string& content) {
    std::istringstream lines(content);
    std::string line;
    std::getline(lines, line);
    const std::vector<std::string> header = cells_of(line);
    std::array<std::size_t, kColumns.size()> place;
    for (std::size_t i = 0; i < kColumns.size(); ++i) {
        const auto found = std::find(header.begin(), header.end(), kColumns[i]);
        if (found == header.end()) {
            fail("expected a header with stamp,x,y,z,qw,qx,qy,qz, got no ", kColumns[i]);
        }
        place[i] = static_cast<std::size_t>(found - header.begin());
    }
    const auto file = std::find(header.begin(), header.end(), "file");
    std::vector<StampedPose> poses;
    while (std::getline(lines, line)) {
        const std::vector<std::string> cells = cells_of(line);
        if (cells.empty()) continue;
        const std::size_t row = poses.size() + 1;
        if (cells.size() < header.size()) fail("expected a value for every column in row ", row);
        std::array<double, kColumns.size()> v;
        for (std::size_t i = 0; i < v.size(); ++i) v[i] = number_of(cells[place[i]], row);
        std::string name;
        if (file != header.end()) {
            name = cells[static_cast<std::size_t>(file - header.begin())];
            if (name.empty()) fail("expected the name of a cloud in row ", row);
        }
        poses.push_back({seconds(v[0]), pose_of(v[1], v[2], v[3], v[4], v[5], v[6], v[7]),
                         std::filesystem::path(name).lexically_normal()});
    }
    return poses;
}

/// Whether the last parts of a path are those of another, but for the suffix of its file.
bool ends_with(const std::filesystem::path& path, const std::filesystem::path& end) {
    if (end.filename() != path.filename() && end.filename() != path.stem()) return false;
    const std::vector<std::filesystem::path> parts(path.begin(), path.end()),
        wanted(end.begin(), end.end());
    return wanted.size() <= parts.size() &&
           std::equal(wanted.rbegin() + 1, wanted.rend(), parts.rbegin() + 1);
}

const StampedPose& row_of(const std::filesystem::path& cloud,
                          const std::vector<StampedPose>& poses) {
    const std::filesystem::path path = std::filesystem::absolute(cloud).lexically_normal();
    const StampedPose* found = nullptr;
    for (const StampedPose& row : poses) {
        if (!ends_with(path, row.file)) continue;
        if (found != nullptr) {
            fail("--poses: expected one row for ", cloud.string(), " in its column file, got ",
                 found->file.string(), " and ", row.file.string());
        }
        found = &row;
    }
    if (found == nullptr) fail("--poses: expected a row for ", cloud.string(), " in its column file");
    return *found;
}

}  // namespace

std::vector<PosedCloud> with_poses(const std::vector<std::filesystem::path>& clouds,
                                   const std::vector<StampedPose>& poses) {
    const bool named = !poses.empty() && !poses.front().file.empty();
    if (!named && poses.size() != clouds.size()) {
        fail("--poses: expected a row for each of ", clouds.size(), " clouds, got ", poses.size());
    }
    std::vector<PosedCloud> posed;
    for (std::size_t i = 0; i < clouds.size(); ++i) {
        posed.push_back({clouds[i], named ? row_of(clouds[i], poses) : poses[i]});
        for (std::size_t j = 0; named && j < i; ++j) {
            if (posed[j].at.file == posed[i].at.file) {
                fail("--poses: expected a row for each cloud, got one for ", clouds[j].string(),
                     " and ", clouds[i].string());
            }
        }
    }
    std::stable_sort(posed.begin(), posed.end(), [](const auto& one, const auto& other) {
        return one.at.stamp_s < other.at.stamp_s;
    });
    return posed;
}

std::vector<StampedPose> read_poses(const std::filesystem::path& path) {
    try {
        return table_of(read_bytes(path));
    } catch (const Error& error) {
        fail(path.string(), ": expected a table of poses: ", error.what());
    }
}

}  // namespace padre3d
