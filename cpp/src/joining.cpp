#include "joining.hpp"

#include <algorithm>
#include <iomanip>
#include <locale>
#include <sstream>

namespace padre3d {
namespace {

// A LiDAR turns faster than once in so many seconds: a longer step is a pause.
constexpr double kLongestStepS = 1;
constexpr std::size_t kSteps = 99;

/// The middle number, or the mean of the two in the middle.
double median(const std::deque<double>& values) {
    std::vector<double> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

}  // namespace

Joiner::Joiner(const SweepOptions& options, std::optional<double> max_lag_s)
    : buffer_(options), max_lag_s_(max_lag_s), way_((options.num_sweeps - 1) * options.stride) {}

std::string Joiner::push(PointView points, double stamp_s, const Pose& pose) {
    std::string said;
    // A time that is not after the last one is refused by the buffer.
    if (last_s_ && stamp_s > *last_s_) said = begin_anew(stamp_s - *last_s_);
    buffer_.push(points, stamp_s, pose);
    last_s_ = stamp_s;
    return said;
}

std::string Joiner::begin_anew(double step_s) {
    const double limit = limit_s(step_s);
    buffer_.set_max_lag_s(limit);
    if (step_s <= limit) {
        steps_s_.push_back(step_s);
        if (steps_s_.size() > kSteps) steps_s_.pop_front();
        return "";
    }
    buffer_.clear();
    std::ostringstream said;
    said.imbue(std::locale::classic());
    said << std::fixed << std::setprecision(3) << step_s
         << " s after the last cloud: no sweep older than " << std::defaultfloat << limit
         << " s is joined";
    return said.str();
}

double Joiner::limit_s(double step_s) const {
    if (max_lag_s_) return *max_lag_s_;
    if (steps_s_.empty() && step_s > kLongestStepS) return kLongestStepS;
    const double usual_s = std::min(steps_s_.empty() ? step_s : median(steps_s_), kLongestStepS);
    const auto way = static_cast<double>(way_);
    // With a way of one step two of them are no more than one missing cloud and some jitter.
    return usual_s * std::max(2 * way, way + 1.5);
}

}  // namespace padre3d
