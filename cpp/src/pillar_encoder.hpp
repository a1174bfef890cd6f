#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "grid.hpp"
#include "padre3d/detector.hpp"
#include "row_product.hpp"
#include "tables.hpp"
#include "workers.hpp"

namespace padre3d {

/// Occupied pillars of a cloud.
struct EncodedPillars {
    Floats features;                  ///< (N, channels)
    std::vector<std::int32_t> cells;  ///< (N,) ascending cell ids
    std::size_t unusable = 0;         ///< points with NaN, infinity or an absurd number
};

/// Points to one feature vector per occupied pillar; the twin of
/// padre3d/runtime/pillar_encoder.py.
class PillarEncoder {
public:
    PillarEncoder(const Grid& grid, const Tables& tables, std::size_t columns, Workers& workers,
                  const RowKernel& kernel = row_kernel());

    /// Points of `columns` columns. What it returns lives until the next call.
    EncodedPillars& encode(PointView points);

    /// The first half of it, without features.
    EncodedPillars& locate(PointView points);

    /// The second half: the features (N, channels) of the points that `locate` got last.
    void write_features(PointView points, float* features);

    std::size_t channels() const { return channels_; }

private:
    /// Rows that lie behind each other in memory are padded to `width` columns.
    struct Layer {
        Floats point, pillar, shift;  ///< packed; the shift is padded alone
        std::size_t depth, shared;    ///< numbers of a point, and of a pillar
        std::size_t width;
    };
    /// Pillars that go through all layers together.
    struct Block {
        std::size_t first_pillar, pillars, first_row, rows;
    };
    /// What one thread needs for a block.
    struct Scratch {
        Floats inputs, hidden, other, start, most;
        std::vector<std::int32_t> pillar, zeros;
    };

    void add_layers(const Tables& tables);
    std::pair<Matrix, Matrix> first_layer(const Matrix& given) const;
    void find_cells(PointView points);
    void group();
    void make_blocks();
    void encode_block(PointView points, const Block& block, Scratch& scratch);
    void describe(PointView points, const Block& block, Scratch& scratch) const;
    void describe_pillar(PointView points, std::size_t pillar, float* inputs, float* shared) const;
    void run_layers(const Block& block, Scratch& scratch);
    void add_shared(const Layer& layer, const Block& block, Scratch& scratch);
    float* features_of(std::size_t pillar);

    Grid grid_;
    std::size_t columns_, described_, channels_;
    bool with_distance_;
    std::vector<Layer> layers_;
    Workers& workers_;
    const RowKernel& kernel_;

    std::vector<std::int32_t> cell_of_point_;  ///< -1 where it does not count
    std::vector<std::int32_t> next_, order_, first_;
    std::vector<Block> blocks_;
    std::vector<Scratch> scratch_;
    EncodedPillars encoded_;
    float* features_ = nullptr;  ///< where they are written to
};

}  // namespace padre3d
