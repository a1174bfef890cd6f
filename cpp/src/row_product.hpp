#pragma once

#include <cstddef>
#include <cstdint>

#include "aligned.hpp"

namespace padre3d {

/// Products of the rows of x, which belong to pillars, with a matrix, and what becomes of them.
///
///   hidden: rows(r) = relu(start(pillar of r) + x(r) W); most(p) = maximum of rows(r) over p
///   last:   most(p) = relu(start(p) + maximum of x(r) W over p)
///   plain:  rows(r) = start(pillar of r) + x(r) W
///
/// The rows of a pillar follow each other, and those of x are `depth`, all others `width` long.
struct RowProduct {
    enum class Kind { hidden, last, plain };

    Kind kind = Kind::plain;
    const float* x = nullptr;
    const float* weight = nullptr;  ///< as `packed` lays it out
    std::size_t count = 0, depth = 0, width = 0;
    const std::int32_t* pillar = nullptr;  ///< of each row
    const float* start = nullptr;
    float* rows = nullptr;
    float* most = nullptr;
};

/// Widths are padded to a multiple of it.
inline constexpr std::size_t kLanes = 16;

/// A kernel and what it runs on.
struct RowKernel {
    const char* name;
    void (*run)(const RowProduct&);
    bool (*is_supported)();
    std::size_t lanes;  ///< numbers in a vector
};

/// Vectors of sums that a kernel holds at once, the largest first.
inline constexpr std::size_t kTiles[] = {8, 4, 2, 1};

/// All that are built in, the fastest first; the last one runs everywhere.
extern const RowKernel kRowKernels[];
extern const std::size_t kNumRowKernels;

/// The fastest one that this processor has the instructions for.
const RowKernel& row_kernel();

/// A (depth, width) matrix with zeros up to `padded` columns, as a kernel reads it: the columns of
/// each of its tiles lie together, or they would share a few sets of the cache.
Floats packed(const float* weight, std::size_t depth, std::size_t width, std::size_t padded,
              const RowKernel& kernel);

}  // namespace padre3d
