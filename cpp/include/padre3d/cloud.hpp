#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "padre3d/detector.hpp"

namespace padre3d {

/// What a file does not say itself; what is not set is told from name and values.
struct ReadOptions {
    std::optional<std::size_t> columns;
    std::optional<std::string> dtype;  ///< float32, float16 or float64 numbers in a .bin
    std::optional<bool> time_lag;      ///< whether a fifth column is a time lag in s
    float intensity_scale = 1.0F;
};

/// Rows of x, y, z in m, intensity, time lag in s.
struct Cloud {
    std::vector<float> points;
    std::vector<std::string> warnings;

    std::size_t size() const { return points.size() / 5; }
    PointView view() const { return {points.data(), size(), 5}; }
};

/// Points that are no measurement: with NaN or infinity, with absurd numbers, at the origin.
struct Dropped {
    std::size_t invalid = 0, absurd = 0, origin = 0;

    std::size_t total() const { return invalid + absurd + origin; }
};

/// Reads a .bin or .npy file as `padre3d detect` does.
/// Throws Error if it is missing, cut off or its columns cannot be told.
Cloud read_cloud(const std::filesystem::path& path, const ReadOptions& options = {});

/// Removes points that are no measurement.
Dropped drop_unusable(Cloud& cloud);

}  // namespace padre3d
