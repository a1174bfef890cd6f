#include "time_lag.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "raw_table.hpp"
#include "text.hpp"

namespace padre3d {
namespace {

constexpr double kLeastLag = -1, kMostLag = 10, kMaxSpanS = 10, kMaxRing = 255;
constexpr std::size_t kMaxSweeps = 32;
// Share of changes that go up in the order of the file; shuffled points have half.
constexpr double kAscendingShare = 0.75;
// Stamps coarser than this say nothing about motion: epoch seconds stored as float32.
constexpr double kCoarsestS = 0.02;

struct Unit {
    double seconds;
    double epoch_from;  ///< a stamp of the years 1973 to 2286 is at least so large
};
constexpr Unit kUnits[] = {{1, 1e8}, {1e-3, 1e11}, {1e-6, 1e14}, {1e-9, 1e17}};

/// What is finite of a column, which has at least one such value.
struct Finite {
    std::vector<double> values;
    double low = 0, high = 0;
    bool whole = false;

    explicit Finite(const std::vector<double>& column) {
        std::copy_if(column.begin(), column.end(), std::back_inserter(values),
                     [](double v) { return std::isfinite(v); });
        whole = is_whole(values);
        if (values.empty()) return;
        low = *std::min_element(values.begin(), values.end());
        high = *std::max_element(values.begin(), values.end());
    }

    bool is_few() const {
        std::set<double> seen;
        for (const double value : values) {
            seen.insert(value);
            if (seen.size() > kMaxSweeps) return false;
        }
        return true;
    }

    double ascending_share() const {
        std::size_t up = 0, changes = 0;
        for (std::size_t i = 1; i < values.size(); ++i) {
            up += values[i] > values[i - 1];
            changes += values[i] != values[i - 1];
        }
        return changes == 0 ? 1 : static_cast<double>(up) / static_cast<double>(changes);
    }

    std::string span_text() const { return text(low, " to ", high); }
};

/// Seconds of the unit in which stamps span at most 10 s, none if they do in none.
std::optional<double> stamp_unit(const Finite& finite) {
    const double span = finite.high - finite.low;
    for (auto unit = std::rbegin(kUnits); unit != std::rend(kUnits); ++unit) {
        if (finite.low < unit->epoch_from) continue;
        if (span * unit->seconds <= kMaxSpanS) return unit->seconds;
        if (unit->seconds == 1 && !finite.whole) return std::nullopt;
        break;
    }
    for (const Unit& unit : kUnits) {
        const bool whole_seconds = unit.seconds == 1 && finite.whole && span > 0;
        if (span * unit.seconds <= kMaxSpanS && !whole_seconds) return unit.seconds;
    }
    return std::nullopt;
}

/// Distance of a number of the file to the next larger one, in its own type.
double spacing(double value, const std::string& kind) {
    int exponent = 0;
    std::frexp(value, &exponent);
    const int digits = kind == "f2" ? 11 : kind == "f4" ? 24 : 53;
    return std::ldexp(1.0, exponent - digits);
}

std::vector<double> as_stamps(const std::vector<double>& values, const Finite& finite, double unit,
                              const std::string& kind) {
    std::vector<double> lags(values.size());
    const double most = std::max(std::abs(finite.low), std::abs(finite.high));
    if (kind[0] == 'f' && spacing(most, kind) * unit > kCoarsestS) return lags;
    for (std::size_t i = 0; i < values.size(); ++i) lags[i] = (finite.high - values[i]) * unit;
    return lags;
}

}  // namespace

std::vector<double> column_lag(const std::vector<double>& values, const std::string& kind,
                               std::optional<bool> time_lag, std::string& warning) {
    const std::vector<double> zeros(values.size());
    if (time_lag && !*time_lag) return zeros;
    const Finite finite(values);
    const bool empty = finite.values.empty();
    const bool in_range = finite.low >= kLeastLag && finite.high <= kMostLag;
    if (time_lag) {
        if (!empty && !in_range) {
            fail("expected column 5 to be a time lag between -1 and 10 s, got ", finite.span_text(),
                 " (--no-time-lag ignores it)");
        }
        return values;
    }
    if (empty || (finite.whole && finite.low >= 0 && finite.high <= kMaxRing)) return zeros;
    const bool is_few = finite.is_few();
    if (in_range && finite.high > 0 && is_few) return values;
    const std::optional<double> unit = in_range ? 1.0 : stamp_unit(finite);
    const bool ordered = finite.ascending_share() >= kAscendingShare;
    if (unit && (ordered || (finite.high <= 0 && is_few))) {
        return as_stamps(values, finite, *unit, kind);
    }
    if (!(finite.whole && finite.low >= 0)) {
        warning = "column 5 (" + finite.span_text() +
                  ") is neither a ring index nor a time: lag 0 is used. --time-lag takes it as a "
                  "lag in s, --no-time-lag says that it is none";
    }
    return zeros;
}

}  // namespace padre3d
