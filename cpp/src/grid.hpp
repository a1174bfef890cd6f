#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace padre3d {

/// Range and cell size of a pillar grid; a cell's id is `y * nx + x`.
struct Grid {
    std::array<double, 6> range_m{};  ///< xmin, ymin, zmin, xmax, ymax, zmax
    std::array<double, 2> cell_m{};   ///< dx, dy

    std::size_t nx() const { return cells(0); }
    std::size_t ny() const { return cells(1); }
    std::size_t num_cells() const { return nx() * ny(); }

    /// Centre of a cell along x (0) or y (1) of its column or row.
    float centre_m(std::size_t axis, std::size_t cell) const {
        const float offset = (static_cast<float>(cell) + 0.5F) * static_cast<float>(cell_m[axis]);
        return offset + static_cast<float>(range_m[axis]);
    }

    /// Throws Error if the range is empty or beyond what a point may have, the cells do not divide
    /// it, or there are more than 2^24.
    void check() const;

private:
    std::size_t cells(std::size_t axis) const;
};

/// Largest magnitude of a column of a usable point; false of NaN and infinity.
/// The twin of padre3d/structures/points.py.
float point_limit(std::size_t column);

}  // namespace padre3d
