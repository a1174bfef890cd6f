#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "padre3d/sweep_buffer.hpp"

namespace padre3d {

struct StampedPose {
    double stamp_s;
    Pose pose;
    std::filesystem::path file;  ///< end of the cloud's path; empty in a table without that column
};

/// A cloud and its pose.
struct PosedCloud {
    std::filesystem::path path;
    StampedPose at;
};

/// Reads a CSV file with a header that has stamp, x, y, z, qw, qx, qy and qz in any order, and
/// perhaps file. Stamps since 1970 in ms, us or ns are told by their size.
/// Throws Error if the file is missing or is no such table.
std::vector<StampedPose> read_poses(const std::filesystem::path& path);

/// The clouds with their poses in the order of time. A row that names a file belongs to the cloud
/// whose path ends with it, with or without the suffix of the file; rows without names belong to the
/// clouds in order.
/// Throws Error if a cloud has no row or several, a row is that of two clouds, or there are more or
/// fewer rows without names than clouds.
std::vector<PosedCloud> with_poses(const std::vector<std::filesystem::path>& clouds,
                                   const std::vector<StampedPose>& poses);

}  // namespace padre3d
