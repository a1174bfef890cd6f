#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "padre3d/sweep_buffer.hpp"

namespace padre3d {

/// Adds to every cloud the sweeps before it, as long as they are of one recording: the twin of
/// padre3d/command/joining.py.
///
/// Without a limit of one's own the oldest sweep may be twice as old as it is without a missing
/// one: twice the way back of the model (a step and a half more where that is one step), in steps
/// of the usual length, which is the median of those seen, and at most 1 s. After a longer pause
/// sweeps are collected anew.
class Joiner {
public:
    /// `max_lag_s` is the greatest age of a sweep in s; that of the options does not count.
    /// Throws Error as SweepBuffer does.
    Joiner(const SweepOptions& options, std::optional<double> max_lag_s);

    /// Adds a cloud; gives what there is to say of a new beginning, or nothing.
    /// Throws Error as SweepBuffer::push does, for a time that does not grow, too.
    std::string push(PointView points, double stamp_s, const Pose& pose);

    /// All sweeps, as SweepBuffer::cloud gives them.
    std::vector<float> cloud() const { return buffer_.cloud(); }

private:
    std::string begin_anew(double step_s);
    double limit_s(double step_s) const;

    SweepBuffer buffer_;
    std::optional<double> max_lag_s_, last_s_;
    std::size_t way_;  ///< clouds from the newest sweep to the oldest
    std::deque<double> steps_s_;
};

}  // namespace padre3d
