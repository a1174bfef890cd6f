#pragma once

#include <vector>

#include "manifest.hpp"
#include "padre3d/detector.hpp"
#include "tensor.hpp"

namespace padre3d {

/// Raw head outputs to boxes, best first; the twin of padre3d/runtime/decode.py.
/// Throws Error if an output is missing, has a wrong shape or holds a number that is not finite.
std::vector<Box> decode(const Tensors& outputs, const Grid& grid, const DecodeSettings& settings);

}  // namespace padre3d
