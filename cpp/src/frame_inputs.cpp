#include "frame_inputs.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "text.hpp"

namespace padre3d {

FrameInputs::FrameInputs(const std::filesystem::path& folder, const Manifest& manifest, int threads)
    : manifest_(manifest),
      tables_(load_tables(folder / kTables, manifest)),
      workers_(threads),
      encoder_(manifest.grid, tables_, manifest.point_columns, workers_),
      layouts_(manifest.grid, tables_, manifest.set_size, workers_) {}

EncodedPillars& FrameInputs::encode(PointView points) {
    if (points.columns != manifest_.point_columns) {
        fail("points: expected ", manifest_.point_columns, " columns, got ", points.columns);
    }
    if (points.count > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
        fail("points: expected fewer than 2^31, got ", points.count);
    }
    return encoder_.encode(points);
}

void FrameInputs::keep_nearest(EncodedPillars& pillars, std::size_t most) const {
    const Grid& grid = manifest_.grid;
    const std::size_t nx = grid.nx(), channels = encoder_.channels();
    std::vector<float> distance;
    for (const std::int32_t id : pillars.cells) {
        const auto cell = static_cast<std::size_t>(id);
        const float x = grid.centre_m(0, cell % nx), y = grid.centre_m(1, cell / nx);
        distance.push_back(x * x + y * y);
    }
    std::vector<std::size_t> rows(pillars.cells.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    std::stable_sort(rows.begin(), rows.end(),
                     [&](std::size_t a, std::size_t b) { return distance[a] < distance[b]; });
    rows.resize(std::min(most, rows.size()));
    std::sort(rows.begin(), rows.end());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        pillars.cells[i] = pillars.cells[rows[i]];
        const auto from =
            pillars.features.begin() + static_cast<std::ptrdiff_t>(rows[i] * channels);
        std::copy_n(from, channels,
                    pillars.features.begin() + static_cast<std::ptrdiff_t>(i * channels));
    }
    pillars.cells.resize(rows.size());
    pillars.features.resize(rows.size() * channels);
}

Tensors FrameInputs::inputs(EncodedPillars& pillars, std::size_t least,
                            std::optional<std::size_t> sets) {
    const std::size_t size = std::max(least, pillars.cells.size());
    Tensors inputs = layouts_.inputs(pillars.cells, size, sets);
    pillars.features.resize(size * encoder_.channels());
    inputs["features"] = {Type::float32, {size, encoder_.channels()}, pillars.features.data()};
    for (const char* name : {"window_index", "cell_to_pillar"}) {
        inputs[manifest_.own_name(name)] = inputs[name];
    }
    return inputs;
}

}  // namespace padre3d
