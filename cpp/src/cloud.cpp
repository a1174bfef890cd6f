#include "padre3d/cloud.hpp"

#include <algorithm>
#include <cmath>

#include "grid.hpp"
#include "raw_table.hpp"
#include "text.hpp"
#include "time_lag.hpp"

namespace padre3d {
namespace {

constexpr std::size_t kColumns = 5;
constexpr float kMaxIntensity = 255;
// Beyond any map projection's coordinates.
constexpr float kMaxCoordinateM = 1e8F;

RawTable read_table(const std::filesystem::path& path, const ReadOptions& options) {
    if (options.columns && (*options.columns < 3 || *options.columns > kColumns)) {
        fail("--columns: expected 3 to 5, got ", *options.columns);
    }
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) fail("expected a point file, got none");
    const std::string suffix = lower(path.extension().string());
    if (suffix == ".bin") return read_bin(path, options);
    if (suffix == ".npy") return read_npy(path, options);
    fail("expected a .bin or .npy file, got ", in_quotes(suffix));
}

/// What to do about intensities of another range than the model's; empty if they fit.
std::string intensity_warning(const std::vector<float>& points) {
    float low = HUGE_VALF, high = -HUGE_VALF;
    bool whole = true;
    for (std::size_t at = 3; at < points.size(); at += kColumns) {
        if (!(std::abs(points[at]) <= point_limit(3))) continue;
        low = std::min(low, points[at]), high = std::max(high, points[at]);
        whole = whole && points[at] == std::nearbyint(points[at]);
    }
    if (low > high) return "";
    if (low < 0 || high > kMaxIntensity) {
        return text("intensity is ", low, " to ", high, ", the model expects 0 to 255: try ",
                    "--intensity-scale ", kMaxIntensity / std::max(std::abs(low), std::abs(high)));
    }
    if (high > 0 && high <= 1 && !whole) {
        return "no intensity exceeds 1, the model expects 0 to 255: --intensity-scale 255 rescales "
               "intensities given as 0 to 1";
    }
    return "";
}

Cloud cloud_of(const RawTable& table, const ReadOptions& options) {
    Cloud cloud;
    if (table.columns < kColumns && options.time_lag.value_or(false)) {
        fail("--time-lag: expected a fifth column with times, got ", table.columns, " columns");
    }
    cloud.points.resize(table.rows() * kColumns);
    for (std::size_t i = 0; i < table.rows(); ++i) {
        for (std::size_t c = 0; c < std::min<std::size_t>(table.columns, 4); ++c) {
            cloud.points[i * kColumns + c] =
                static_cast<float>(table.values[i * table.columns + c]);
        }
        cloud.points[i * kColumns + 3] *= options.intensity_scale;
    }
    std::vector<std::string> warnings(1);
    if (table.columns > 3) warnings.push_back(intensity_warning(cloud.points));
    if (table.columns == kColumns) {
        const std::vector<double> lags =
            column_lag(table.column(4), table.kind, options.time_lag, warnings[0]);
        for (std::size_t i = 0; i < lags.size(); ++i) {
            cloud.points[i * kColumns + 4] = static_cast<float>(lags[i]);
        }
    }
    for (std::string& warning : warnings) {
        if (!warning.empty()) cloud.warnings.push_back(std::move(warning));
    }
    return cloud;
}

}  // namespace

Cloud read_cloud(const std::filesystem::path& path, const ReadOptions& options) {
    try {
        return cloud_of(read_table(path, options), options);
    } catch (const Error& error) {
        fail(path.string(), ": ", error.what());
    }
}

Dropped drop_unusable(Cloud& cloud) {
    const float limits[kColumns] = {kMaxCoordinateM, kMaxCoordinateM, kMaxCoordinateM,
                                    point_limit(3), point_limit(4)};
    Dropped dropped;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < cloud.size(); ++i) {
        const float* point = cloud.points.data() + i * kColumns;
        bool finite = true, absurd = false;
        for (std::size_t c = 0; c < kColumns; ++c) {
            finite = finite && std::isfinite(point[c]);
            absurd = absurd || std::abs(point[c]) > limits[c];
        }
        const bool origin = point[0] == 0 && point[1] == 0 && point[2] == 0;
        if (!finite) {
            ++dropped.invalid;
        } else if (absurd) {
            ++dropped.absurd;
        } else if (origin) {
            ++dropped.origin;
        } else {
            std::copy_n(point, kColumns, cloud.points.data() + kColumns * kept++);
        }
    }
    cloud.points.resize(kept * kColumns);
    return dropped;
}

}  // namespace padre3d
