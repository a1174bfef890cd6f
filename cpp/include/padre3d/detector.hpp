#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "padre3d/error.hpp"

namespace padre3d {

/// Points row by row, not owned: x, y, z in m, intensity, time lag in s.
struct PointView {
    const float* data = nullptr;
    std::size_t count = 0;
    std::size_t columns = 5;
};

/// One box: gravity centre in the LiDAR frame, metres, radians counter-clockwise from +x, m/s.
struct Box {
    double x, y, z, length, width, height, yaw, vx, vy;
    double score;        ///< 0..1
    std::int64_t label;  ///< row of the class names
};

/// What happened to the points and pillars of a frame.
struct FrameReport {
    std::size_t pillars = 0;          ///< occupied ones
    std::size_t dropped = 0;          ///< the farthest, for which the largest graph had no place
    std::size_t size = 0;             ///< pillars the graph ran on, padding included
    std::size_t unusable_points = 0;  ///< with NaN, infinity or an absurd number
};

/// Milliseconds of the stages of a frame.
struct StageTimes {
    double encoder = 0;    ///< voxelisation and pillar encoder
    double inputs = 0;     ///< token orders or sets, map of cells to pillars
    double graph = 0;      ///< the backend
    double decode = 0;     ///< boxes and their suppression
    double processor = 0;  ///< processor time of all threads in all stages but the graph

    double outside_graph() const { return encoder + inputs + decode; }
};

struct Options {
    std::string backend;            ///< empty: the one this library was built with
    int threads = 0;                ///< on the CPU; 0: one for each core
    std::filesystem::path engines;  ///< of TensorRT; empty: `engines` in the folder
};

/// An exported detector from points to boxes, the twin of padre3d.deploy.Runtime.
///
/// How many pillars a frame has decides which graph of the folder runs: the smallest one that
/// holds them. Frames with more pillars than the largest graph takes keep those nearest to the
/// sensor. An object is for one thread at a time; it keeps its buffers between frames.
class Detector {
public:
    /// Reads a folder of tools/export.py; every file is checked against its checksum.
    /// Throws Error if a file is missing, damaged or not what the manifest names, and on a
    /// backend that is not built in or has no device.
    explicit Detector(const std::filesystem::path& folder, const Options& options = {});
    ~Detector();
    Detector(Detector&&) noexcept;
    Detector& operator=(Detector&&) noexcept;

    /// Boxes of one cloud, best first; none for a cloud without a point in the range.
    /// Throws Error on another number of columns, or if the graph gives numbers that are not
    /// finite.
    std::vector<Box> detect(PointView points);

    /// In label order.
    const std::vector<std::string>& class_names() const;
    /// Columns of a point.
    std::size_t columns() const;
    /// Of the last frame.
    const FrameReport& last() const;
    /// Of the last frame.
    const StageTimes& times() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace padre3d
