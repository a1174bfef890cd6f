#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

#include "manifest.hpp"
#include "padre3d/detector.hpp"
#include "pillar_encoder.hpp"
#include "tensor.hpp"
#include "token_layouts.hpp"
#include "workers.hpp"

namespace padre3d {

/// Everything between the points and the graph: the pillar encoder and the index inputs.
class FrameInputs {
public:
    /// Reads the tables of an exported folder.
    FrameInputs(const std::filesystem::path& folder, const Manifest& manifest, int threads);

    /// Pillars of a cloud; they live until the next call.
    EncodedPillars& encode(PointView points);

    /// Keeps the pillars nearest to the sensor, in their order.
    void keep_nearest(EncodedPillars& pillars, std::size_t most) const;

    /// The graph's inputs by name, padded to `least` pillars. They live until the next call.
    Tensors inputs(EncodedPillars& pillars, std::size_t least, std::optional<std::size_t> sets);

private:
    const Manifest& manifest_;
    Tables tables_;
    Workers workers_;
    PillarEncoder encoder_;
    TokenLayouts layouts_;
};

}  // namespace padre3d
