#include "padre3d/sweep_buffer.hpp"

#include <algorithm>
#include <cmath>

#include "text.hpp"

namespace padre3d {
namespace {

constexpr std::size_t kColumns = 5;
constexpr Pose kIdentity = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};

double rotation(const Pose& pose, std::size_t row, std::size_t column) {
    return pose[4 * row + column];
}

Pose product(const Pose& a, const Pose& b) {
    Pose result{};
    for (std::size_t row = 0; row < 4; ++row) {
        for (std::size_t column = 0; column < 4; ++column) {
            for (std::size_t k = 0; k < 4; ++k) {
                result[4 * row + column] += a[4 * row + k] * b[4 * k + column];
            }
        }
    }
    return result;
}

/// The inverse of a rotation with a translation.
Pose rigid_inverse(const Pose& pose) {
    Pose inverse = kIdentity;
    for (std::size_t row = 0; row < 3; ++row) {
        inverse[4 * row + 3] = 0;
        for (std::size_t column = 0; column < 3; ++column) {
            inverse[4 * row + column] = rotation(pose, column, row);
            inverse[4 * row + 3] -= rotation(pose, column, row) * pose[4 * column + 3];
        }
    }
    return inverse;
}

bool is_rotation(const Pose& pose) {
    for (std::size_t a = 0; a < 3; ++a) {
        for (std::size_t b = 0; b < 3; ++b) {
            double dot = 0;
            for (std::size_t k = 0; k < 3; ++k) dot += rotation(pose, a, k) * rotation(pose, b, k);
            if (!(std::abs(dot - (a == b ? 1 : 0)) <= 1e-3 + (a == b ? 1e-5 : 0))) return false;
        }
    }
    double determinant = 0;
    for (std::size_t k = 0; k < 3; ++k) {
        determinant += rotation(pose, 0, k) *
                       (rotation(pose, 1, (k + 1) % 3) * rotation(pose, 2, (k + 2) % 3) -
                        rotation(pose, 1, (k + 2) % 3) * rotation(pose, 2, (k + 1) % 3));
    }
    return determinant >= 0;
}

const Pose& checked(const Pose& pose) {
    bool is_pose = std::all_of(pose.begin(), pose.end(), [](double v) { return std::isfinite(v); });
    is_pose = is_pose && is_rotation(pose);
    for (std::size_t k = 0; k < 4; ++k) {
        is_pose = is_pose && std::abs(pose[12 + k] - kIdentity[12 + k]) <= (k < 3 ? 1e-8 : 1e-5);
    }
    if (!is_pose) fail("pose: expected a rotation and a translation, got ", shape_text(pose));
    return pose;
}

/// Points outside the square |x| < radius, |y| < radius, taken through a motion.
void append_moved(const std::vector<float>& points, const Pose& motion, float lag_s, float radius_m,
                  std::vector<float>& out) {
    // The relative motion is small: float32 keeps it, whatever the poses' coordinates.
    std::array<float, 12> m;
    for (std::size_t i = 0; i < m.size(); ++i) m[i] = static_cast<float>(motion[i]);
    for (std::size_t at = 0; at < points.size(); at += kColumns) {
        const float x = points[at], y = points[at + 1], z = points[at + 2];
        if (std::abs(x) < radius_m && std::abs(y) < radius_m) continue;
        for (std::size_t row = 0; row < 3; ++row) {
            const float* r = m.data() + 4 * row;
            out.push_back(x * r[0] + y * r[1] + z * r[2] + r[3]);
        }
        out.push_back(points[at + 3]);
        out.push_back(lag_s);
    }
}

}  // namespace

Pose pose_of(double x, double y, double z, double qw, double qx, double qy, double qz) {
    const double length = std::sqrt(qw * qw + qx * qx + qy * qy + qz * qz);
    if (!(std::isfinite(x + y + z) && length > 0 && std::isfinite(length))) {
        fail("pose: expected finite numbers and a rotation, got ",
             shape_text(std::array<double, 7>{x, y, z, qw, qx, qy, qz}));
    }
    qw /= length, qx /= length, qy /= length, qz /= length;
    return {1 - 2 * (qy * qy + qz * qz),
            2 * (qx * qy - qw * qz),
            2 * (qx * qz + qw * qy),
            x,
            2 * (qx * qy + qw * qz),
            1 - 2 * (qx * qx + qz * qz),
            2 * (qy * qz - qw * qx),
            y,
            2 * (qx * qz - qw * qy),
            2 * (qy * qz + qw * qx),
            1 - 2 * (qx * qx + qy * qy),
            z,
            0,
            0,
            0,
            1};
}

SweepBuffer::SweepBuffer(const SweepOptions& options) : options_(options) {
    if (options.num_sweeps < 1 || options.stride < 1) {
        fail("SweepBuffer expected num_sweeps and stride >= 1, got ", options.num_sweeps, " and ",
             options.stride);
    }
    set_max_lag_s(options.max_lag_s);
    if (options.lidar_to_ego) checked(*options.lidar_to_ego);
}

void SweepBuffer::push(PointView points, double stamp_s, const Pose& pose) {
    if (points.columns < 4) fail("points: expected at least 4 columns, got ", points.columns);
    if (!std::isfinite(stamp_s)) {
        fail("stamp_s: expected a finite number of seconds, got ", stamp_s);
    }
    if (!clouds_.empty() && stamp_s <= clouds_.back().stamp_s) {
        fail("stamp_s: expected a time after ", clouds_.back().stamp_s, ", got ", stamp_s,
             "; clear() starts another recording");
    }
    Sweep sweep{std::vector<float>(points.count * kColumns), stamp_s,
                product(checked(pose), options_.lidar_to_ego.value_or(kIdentity))};
    for (std::size_t i = 0; i < points.count; ++i) {
        std::copy_n(points.data + i * points.columns, 4, sweep.points.data() + i * kColumns);
    }
    clouds_.push_back(std::move(sweep));
    if (clouds_.size() > (options_.num_sweeps - 1) * options_.stride + 1) clouds_.pop_front();
}

void SweepBuffer::set_max_lag_s(std::optional<double> max_lag_s) {
    if (max_lag_s && !(*max_lag_s > 0)) {
        fail("SweepBuffer expected max_lag_s > 0, got ", *max_lag_s);
    }
    options_.max_lag_s = max_lag_s;
}

std::vector<float> SweepBuffer::cloud() const {
    if (clouds_.empty()) fail("SweepBuffer.cloud: expected a cloud pushed before, got none");
    const Sweep& newest = clouds_.back();
    const Pose newest_from_fixed = rigid_inverse(newest.fixed_from_lidar);
    const auto radius = static_cast<float>(options_.close_radius_m);
    std::vector<float> result = newest.points, oldest;
    std::size_t missing = options_.num_sweeps - 1;
    for (std::size_t age = options_.stride; age < clouds_.size() && missing > 0;
         age += options_.stride) {
        const Sweep& sweep = clouds_[clouds_.size() - 1 - age];
        const double lag_s = newest.stamp_s - sweep.stamp_s;
        if (options_.max_lag_s && lag_s > *options_.max_lag_s) continue;
        oldest.clear();
        append_moved(sweep.points, product(newest_from_fixed, sweep.fixed_from_lidar),
                     static_cast<float>(lag_s), radius, oldest);
        result.insert(result.end(), oldest.begin(), oldest.end());
        --missing;
    }
    if (!options_.pad) return result;
    const bool has_past = missing < options_.num_sweeps - 1;
    if (!has_past) append_moved(newest.points, kIdentity, 0, radius, oldest);
    for (; missing > 0; --missing) result.insert(result.end(), oldest.begin(), oldest.end());
    return result;
}

}  // namespace padre3d
