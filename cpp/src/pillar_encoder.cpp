#include "pillar_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace padre3d {
namespace {

// Rows of a block: what lies between points and features stays in the second-level cache.
constexpr std::size_t kBlockRows = 256;
constexpr std::size_t kPointsOfPiece = 16384;
// Numbers of a pillar that the first layer reads: its centre and the mean of the offsets from it.
constexpr std::size_t kShared = 6;
// How many points before its turn one is fetched: they lie anywhere in the cloud.
constexpr std::int32_t kAhead = 8;

std::size_t padded(std::size_t width) { return (width + kLanes - 1) / kLanes * kLanes; }

/// A matrix with rows of zeros behind it.
Matrix with_rows(const Matrix& matrix, std::size_t rows) {
    Matrix result = matrix;
    result.rows = rows;
    result.values.resize(rows * matrix.columns);
    return result;
}

}  // namespace

PillarEncoder::PillarEncoder(const Grid& grid, const Tables& tables, std::size_t columns,
                             Workers& workers, const RowKernel& kernel)
    : grid_(grid),
      columns_(columns),
      described_(columns + (tables.with_distance ? 1 : 0)),
      channels_(tables.channels()),
      with_distance_(tables.with_distance),
      workers_(workers),
      kernel_(kernel),
      scratch_(workers.count()) {
    add_layers(tables);
}

void PillarEncoder::add_layers(const Tables& tables) {
    const auto [first, of_pillar] = first_layer(tables.layers[0].point);
    std::size_t depth = described_, shared = kShared;
    for (std::size_t i = 0; i < tables.layers.size(); ++i) {
        const EncoderLayer& given = tables.layers[i];
        const std::size_t out = given.shift.size(), width = padded(out);
        const Matrix point = with_rows(i == 0 ? first : given.point, depth);
        const Matrix pillar = with_rows(i == 0 ? of_pillar : given.pillar, shared);
        layers_.push_back({packed(point.row(0), depth, out, width, kernel_),
                           packed(pillar.row(0), shared, out, width, kernel_), given.shift, depth,
                           shared, width});
        layers_.back().shift.resize(width);
        depth = shared = width;
    }
}

/// A point is its pillar's centre and an offset, and the offset to the mean is that to the centre
/// less a constant of the pillar: offsets are all that differs within a pillar. What the first
/// layer makes of them, and of the centre and the mean offset.
std::pair<Matrix, Matrix> PillarEncoder::first_layer(const Matrix& given) const {
    const std::size_t out = given.columns;
    Matrix of_point{described_, out, Floats(described_ * out)};
    Matrix of_pillar{kShared, out, Floats(kShared * out)};
    for (std::size_t axis = 0; axis < 3; ++axis) {
        const float* of_centre = given.row(axis);
        const float* of_mean = given.row(columns_ + axis);
        const float* of_offset = given.row(columns_ + 3 + axis);
        for (std::size_t c = 0; c < out; ++c) {
            of_point.row(axis)[c] = of_centre[c] + of_mean[c] + of_offset[c];
            of_pillar.row(axis)[c] = of_centre[c];
            of_pillar.row(3 + axis)[c] = -of_mean[c];
        }
    }
    std::copy_n(given.row(3), (columns_ - 3) * out, of_point.row(3));
    if (with_distance_) std::copy_n(given.row(columns_ + 6), out, of_point.row(columns_));
    return {of_point, of_pillar};
}

EncodedPillars& PillarEncoder::encode(PointView points) {
    locate(points);
    encoded_.features.resize(encoded_.cells.size() * channels_);
    write_features(points, encoded_.features.data());
    return encoded_;
}

EncodedPillars& PillarEncoder::locate(PointView points) {
    find_cells(points);
    group();
    make_blocks();
    return encoded_;
}

void PillarEncoder::write_features(PointView points, float* features) {
    features_ = features;
    workers_.run(blocks_.size(), [&](std::size_t i, std::size_t worker) {
        encode_block(points, blocks_[i], scratch_[worker]);
    });
}

/// The cell of each point that counts and lies in the range.
void PillarEncoder::find_cells(PointView points) {
    std::vector<float> limits(columns_);
    for (std::size_t c = 0; c < columns_; ++c) limits[c] = point_limit(c);
    const auto low_x = static_cast<float>(grid_.range_m[0]),
               low_y = static_cast<float>(grid_.range_m[1]);
    const auto low_z = static_cast<float>(grid_.range_m[2]),
               high_z = static_cast<float>(grid_.range_m[5]);
    const auto dx = static_cast<float>(grid_.cell_m[0]), dy = static_cast<float>(grid_.cell_m[1]);
    const auto nx = static_cast<float>(grid_.nx()), ny = static_cast<float>(grid_.ny());
    const auto row_cells = static_cast<std::int32_t>(grid_.nx());
    cell_of_point_.resize(points.count);
    const std::size_t pieces = (points.count + kPointsOfPiece - 1) / kPointsOfPiece;
    std::vector<std::size_t> unusable(pieces);
    workers_.run(pieces, [&](std::size_t piece, std::size_t) {
        const std::size_t end = std::min(points.count, (piece + 1) * kPointsOfPiece);
        for (std::size_t i = piece * kPointsOfPiece; i < end; ++i) {
            const float* point = points.data + i * columns_;
            bool usable = true;
            for (std::size_t c = 0; c < columns_; ++c) usable &= std::abs(point[c]) <= limits[c];
            // A quotient of at least 0 is cut off where the floor is.
            const float x = (point[0] - low_x) / dx, y = (point[1] - low_y) / dy;
            const bool inside = usable & (x >= 0) & (x < nx) & (y >= 0) & (y < ny) &
                                (point[2] >= low_z) & (point[2] <= high_z);
            cell_of_point_[i] =
                inside ? static_cast<std::int32_t>(y) * row_cells + static_cast<std::int32_t>(x)
                       : -1;
            unusable[piece] += !usable;
        }
    });
    encoded_.unusable = std::accumulate(unusable.begin(), unusable.end(), std::size_t{0});
}

/// Points by pillar: those of pillar i are order_[first_[i]] to order_[first_[i + 1]], in their
/// order in the cloud.
void PillarEncoder::group() {
    next_.assign(grid_.num_cells(), 0);
    for (const std::int32_t cell : cell_of_point_) {
        if (cell >= 0) ++next_[static_cast<std::size_t>(cell)];
    }
    encoded_.cells.clear();
    first_.assign(1, 0);
    for (std::size_t cell = 0; cell < next_.size(); ++cell) {
        const std::int32_t count = next_[cell];
        if (count == 0) continue;
        encoded_.cells.push_back(static_cast<std::int32_t>(cell));
        next_[cell] = first_.back();
        first_.push_back(first_.back() + count);
    }
    order_.assign(static_cast<std::size_t>(first_.back()) + kAhead, 0);
    for (std::size_t i = 0; i < cell_of_point_.size(); ++i) {
        const std::int32_t cell = cell_of_point_[i];
        if (cell < 0) continue;
        order_[static_cast<std::size_t>(next_[static_cast<std::size_t>(cell)]++)] =
            static_cast<std::int32_t>(i);
    }
}

void PillarEncoder::make_blocks() {
    blocks_.clear();
    const std::size_t pillars = encoded_.cells.size();
    for (std::size_t start = 0; start < pillars;) {
        const auto first_row = static_cast<std::size_t>(first_[start]);
        std::size_t end = start + 1;
        while (end < pillars && static_cast<std::size_t>(first_[end]) - first_row < kBlockRows)
            ++end;
        blocks_.push_back(
            {start, end - start, first_row, static_cast<std::size_t>(first_[end]) - first_row});
        start = end;
    }
}

void PillarEncoder::encode_block(PointView points, const Block& block, Scratch& scratch) {
    describe(points, block, scratch);
    run_layers(block, scratch);
}

/// Points with x, y and z as offsets from the pillar's centre and perhaps their distance, and what
/// they share.
void PillarEncoder::describe(PointView points, const Block& block, Scratch& scratch) const {
    scratch.inputs.resize(block.rows * described_);
    scratch.most.resize(block.pillars * kShared);
    scratch.pillar.resize(block.rows);
    for (std::size_t i = 0; i < block.pillars; ++i) {
        const std::size_t pillar = block.first_pillar + i;
        const std::size_t row = static_cast<std::size_t>(first_[pillar]) - block.first_row;
        const std::size_t end = static_cast<std::size_t>(first_[pillar + 1]) - block.first_row;
        std::fill(scratch.pillar.begin() + static_cast<std::ptrdiff_t>(row),
                  scratch.pillar.begin() + static_cast<std::ptrdiff_t>(end),
                  static_cast<std::int32_t>(i));
        describe_pillar(points, pillar, scratch.inputs.data() + row * described_,
                        scratch.most.data() + i * kShared);
    }
}

void PillarEncoder::describe_pillar(PointView points, std::size_t pillar, float* inputs,
                                    float* shared) const {
    const auto cell = static_cast<std::size_t>(encoded_.cells[pillar]);
    const std::size_t nx = grid_.nx();
    shared[0] = grid_.centre_m(0, cell % nx), shared[1] = grid_.centre_m(1, cell / nx);
    shared[2] = static_cast<float>((grid_.range_m[2] + grid_.range_m[5]) / 2);
    double sum[3] = {0, 0, 0};
    const std::int32_t* order = order_.data() + first_[pillar];
    const std::int32_t count = first_[pillar + 1] - first_[pillar];
    for (std::int32_t i = 0; i < count; ++i, inputs += described_) {
        __builtin_prefetch(points.data + static_cast<std::size_t>(order[i + kAhead]) * columns_);
        const float* point = points.data + static_cast<std::size_t>(order[i]) * columns_;
        for (std::size_t c = 0; c < 3; ++c) {
            inputs[c] = point[c] - shared[c];
            sum[c] += static_cast<double>(inputs[c]);
        }
        for (std::size_t c = 3; c < columns_; ++c) inputs[c] = point[c];
        if (with_distance_) {
            inputs[columns_] =
                std::sqrt(point[0] * point[0] + point[1] * point[1] + point[2] * point[2]);
        }
    }
    for (std::size_t c = 0; c < 3; ++c) shared[3 + c] = static_cast<float>(sum[c] / count);
}

/// All layers in turn. What is constant over a pillar or increasing comes once for each pillar,
/// after the maximum.
void PillarEncoder::run_layers(const Block& block, Scratch& scratch) {
    const Floats* x = &scratch.inputs;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Layer& layer = layers_[i];
        add_shared(layer, block, scratch);
        scratch.most.resize(block.pillars * layer.width);
        RowProduct job;
        job.depth = layer.depth, job.width = layer.width;
        job.x = x->data(), job.weight = layer.point.data();
        job.count = block.rows, job.pillar = scratch.pillar.data();
        job.start = scratch.start.data(), job.most = scratch.most.data();
        if (i + 1 < layers_.size()) {
            Floats& hidden = i % 2 == 0 ? scratch.hidden : scratch.other;
            hidden.resize(block.rows * layer.width);
            job.kind = RowProduct::Kind::hidden;
            job.rows = hidden.data();
            x = &hidden;
        } else {
            job.kind = RowProduct::Kind::last;
            if (layer.width == channels_) job.most = features_of(block.first_pillar);
        }
        kernel_.run(job);
    }
    const std::size_t width = layers_.back().width;
    for (std::size_t i = 0; width != channels_ && i < block.pillars; ++i) {
        std::copy_n(scratch.most.data() + i * width, channels_,
                    features_of(block.first_pillar + i));
    }
}

/// What a layer makes of what the points of a pillar share: the maxima of the layer before it.
void PillarEncoder::add_shared(const Layer& layer, const Block& block, Scratch& scratch) {
    scratch.zeros.resize(block.pillars);
    scratch.start.resize(block.pillars * layer.width);
    RowProduct job;
    job.depth = layer.shared, job.width = layer.width;
    job.x = scratch.most.data(), job.weight = layer.pillar.data();
    job.count = block.pillars, job.pillar = scratch.zeros.data();
    job.start = layer.shift.data(), job.rows = scratch.start.data();
    kernel_.run(job);
}

float* PillarEncoder::features_of(std::size_t pillar) { return features_ + pillar * channels_; }

}  // namespace padre3d
