#include "grid.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text.hpp"

namespace padre3d {
namespace {

constexpr double kCoordinateLimitM = 1e5;
constexpr double kMaxCells = 1 << 24;

}  // namespace

std::size_t Grid::cells(std::size_t axis) const {
    return static_cast<std::size_t>(
        std::nearbyint((range_m[axis + 3] - range_m[axis]) / cell_m[axis]));
}

void Grid::check() const {
    for (const double value : range_m) {
        if (!(std::abs(value) <= kCoordinateLimitM)) {
            fail("grid: expected a range within 1e5 m, got ", shape_text(range_m));
        }
    }
    for (std::size_t axis = 0; axis < 3; ++axis) {
        if (!(range_m[axis] < range_m[axis + 3])) {
            fail("grid: expected minima below maxima, got ", shape_text(range_m));
        }
    }
    std::array<double, 2> counts{};
    for (std::size_t axis = 0; axis < 2; ++axis) {
        if (!(cell_m[axis] > 0 && std::isfinite(cell_m[axis]))) {
            fail("grid: expected cells above 0 m, got ", shape_text(cell_m));
        }
        counts[axis] = (range_m[axis + 3] - range_m[axis]) / cell_m[axis];
    }
    if (std::min(counts[0], counts[1]) < 1 - 1e-4 || !(counts[0] * counts[1] <= kMaxCells)) {
        fail("grid: expected 1 to ", static_cast<long>(kMaxCells), " cells, got ", counts[0], " x ",
             counts[1]);
    }
    for (const double count : counts) {
        if (std::abs(count - std::nearbyint(count)) > 1e-4) {
            fail("grid: expected cells that divide the range, got ", shape_text(cell_m), " m");
        }
    }
}

float point_limit(std::size_t column) {
    constexpr std::array<double, 5> limits = {kCoordinateLimitM, kCoordinateLimitM,
                                              kCoordinateLimitM, 1e6, 1e4};
    return column < limits.size() ? static_cast<float>(limits[column])
                                  : std::numeric_limits<float>::max();
}

}  // namespace padre3d
