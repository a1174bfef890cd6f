#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "padre3d/detector.hpp"

namespace padre3d {

/// Row by row: takes points of a moving frame to a fixed one.
using Pose = std::array<double, 16>;

/// A pose of a position in m and a quaternion of any length but 0.
/// Throws Error if a number is not finite or the quaternion is 0.
Pose pose_of(double x, double y, double z, double qw, double qx, double qy, double qz);

struct SweepOptions {
    std::size_t num_sweeps = 10;      ///< in the cloud, the newest included
    std::size_t stride = 1;           ///< take every stride-th cloud before the newest
    double close_radius_m = 1.0;      ///< half side of the square cut out of past sweeps
    bool pad = true;                  ///< repeat the oldest sweep while there are fewer
    std::optional<double> max_lag_s;  ///< leave out older sweeps
    std::optional<Pose> lidar_to_ego;
};

/// Keeps the last clouds of a moving sensor and gives them in the axes of the newest, the twin of
/// padre3d.deploy.SweepBuffer: `push` every cloud, `detect` what `cloud` gives.
class SweepBuffer {
public:
    /// Throws Error if a number is not positive or the calibration is no pose.
    explicit SweepBuffer(const SweepOptions& options = {});

    /// Adds the newest cloud; it is copied. Columns after the fourth are not used. `pose` takes the
    /// ego vehicle to a fixed frame. Throws Error on fewer than four columns, a time that does not
    /// grow or a pose that is none; the buffer is unchanged then.
    void push(PointView points, double stamp_s, const Pose& pose);

    /// Leaves out sweeps older than so many seconds from now on; nothing keeps them.
    /// Throws Error if the number is not positive.
    void set_max_lag_s(std::optional<double> max_lag_s);

    /// Rows of five numbers: x, y, z in m in the newest sweep's frame, intensity, time lag in s;
    /// the newest sweep's come first. Throws Error if nothing was pushed.
    std::vector<float> cloud() const;

    /// Clouds kept.
    std::size_t size() const { return clouds_.size(); }
    /// Forgets every cloud, as at the start of another recording.
    void clear() { clouds_.clear(); }

private:
    struct Sweep {
        std::vector<float> points;
        double stamp_s;
        Pose fixed_from_lidar;
    };

    SweepOptions options_;
    std::deque<Sweep> clouds_;
};

}  // namespace padre3d
