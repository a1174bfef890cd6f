#include "poses.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "csv.hpp"
#include "folder.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::array<const char*, 8> kColumns = {"stamp", "x", "y", "z", "qw", "qx", "qy", "qz"};

using Row = std::vector<std::string>;

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

std::string without_spaces(const std::string& cell) {
    const std::size_t start = cell.find_first_not_of(" \t");
    if (start == std::string::npos) return {};
    return cell.substr(start, cell.find_last_not_of(" \t") - start + 1);
}

/// Where a column is, spaces around its name aside.
std::size_t place_of(const Row& header, const std::string& name) {
    std::size_t place = kNone;
    for (std::size_t i = 0; i < header.size(); ++i) {
        if (without_spaces(header[i]) != name) continue;
        if (place != kNone) fail("expected every column once, got ", name, " twice");
        place = i;
    }
    return place;
}

double number_of(const std::string& cell, std::size_t row) {
    const std::optional<double> value = number_in(cell);
    if (!value) fail("expected numbers in every row, got ", in_quotes(cell), " in row ", row);
    return *value;
}

double seconds(double stamp) {
    static constexpr double kUnits[][2] = {{1e17, 1e-9}, {1e14, 1e-6}, {1e11, 1e-3}};
    for (const auto& [least, unit] : kUnits) {
        if (stamp >= least) return stamp * unit;
    }
    return stamp;
}

struct Places {
    std::array<std::size_t, kColumns.size()> numbers;
    std::size_t file;
};

Places places_of(const Row& header) {
    Places places;
    for (std::size_t i = 0; i < kColumns.size(); ++i) {
        places.numbers[i] = place_of(header, kColumns[i]);
        if (places.numbers[i] == kNone) {
            fail("expected a header with stamp,x,y,z,qw,qx,qy,qz, got no ", kColumns[i]);
        }
    }
    places.file = place_of(header, "file");
    return places;
}

StampedPose pose_in(const Row& cells, const Places& places, std::size_t row) {
    std::array<double, kColumns.size()> v;
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = number_of(cells[places.numbers[i]], row);
    std::filesystem::path name;
    if (places.file != kNone) {
        name = std::filesystem::path(without_spaces(cells[places.file])).lexically_normal();
        if (name.empty()) fail("expected the name of a cloud in row ", row);
    }
    return {seconds(v[0]), pose_of(v[1], v[2], v[3], v[4], v[5], v[6], v[7]), name};
}

std::vector<StampedPose> table_of(const std::string& content) {
    // Spreadsheets start a file with a byte order mark.
    const bool is_marked = content.compare(0, 3, "\xEF\xBB\xBF") == 0;
    const std::vector<Row> rows = csv_rows(is_marked ? content.substr(3) : content);
    const Places places = places_of(rows.empty() ? Row() : rows[0]);
    std::vector<StampedPose> poses;
    std::set<double> stamps;
    for (std::size_t i = 1; i < rows.size(); ++i) {
        if (rows[i].empty()) continue;
        const std::size_t row = poses.size() + 1;
        if (rows[i].size() < rows[0].size()) {
            fail("expected a value for every column, got fewer in row ", row);
        }
        poses.push_back(pose_in(rows[i], places, row));
        if (!stamps.insert(poses.back().stamp_s).second) {
            fail("expected different stamps, got one twice, again in row ", row);
        }
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
