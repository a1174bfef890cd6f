#pragma once

#include <filesystem>
#include <vector>

#include "padre3d/sweep_buffer.hpp"

namespace padre3d {

struct StampedPose {
    double stamp_s;
    Pose pose;
};

/// Reads a CSV file with a header that has stamp, x, y, z, qw, qx, qy and qz in any order. Stamps
/// since 1970 in ms, us or ns are told by their size.
/// Throws Error if the file is missing or is no such table.
std::vector<StampedPose> read_poses(const std::filesystem::path& path);

}  // namespace padre3d
