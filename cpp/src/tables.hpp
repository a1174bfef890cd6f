#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "aligned.hpp"
#include "manifest.hpp"

namespace padre3d {

/// Row by row.
struct Matrix {
    std::size_t rows = 0, columns = 0;
    Floats values;

    const float* row(std::size_t i) const { return values.data() + i * columns; }
    float* row(std::size_t i) { return values.data() + i * columns; }
};

/// One layer of the pillar encoder, normalisation folded in.
struct EncoderLayer {
    Matrix point;   ///< columns of a point, out
    Matrix pillar;  ///< columns its pillar shares, out
    Floats shift;   ///< out
};

using Table = std::vector<std::int32_t>;

/// The arrays of an exported folder; the twin of padre3d/runtime/tables.py.
struct Tables {
    std::vector<EncoderLayer> layers;
    bool with_distance = false;       ///< whether the first layer reads the distance to the sensor
    std::vector<Table> cells;         ///< cell ids in each token order
    std::vector<Table> windows;       ///< window of each cell, for each shift
    std::vector<Table> window_index;  ///< index of each cell in its window, for each shift
    Table layout_shift;               ///< shift of each token order

    std::size_t channels() const { return layers.back().shift.size(); }
};

/// Columns that the encoder adds to a point: offsets to the pillar's mean and centre.
inline constexpr std::size_t kDescribed = 6;

/// Reads tables.npz.
/// Throws Error if the file holds no arrays, or one of them is missing or out of its range.
Tables load_tables(const std::filesystem::path& path, const Manifest& manifest);

}  // namespace padre3d
