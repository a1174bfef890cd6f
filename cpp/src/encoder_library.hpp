#pragma once

#include <cstddef>
#include <cstdint>

/// The pillar encoder for other languages: what padre3d/runtime/compiled_encoder.py loads.
///
/// No exception leaves a function. What fails writes one line to `error`, which has room for
/// `error_size` bytes and is closed by a zero. An encoder is for one thread at a time, and for the
/// process that made it: its threads do not survive a fork.
extern "C" {

struct padre3d_encoder;

/// Changes with every change of the functions below.
std::int32_t padre3d_encoder_version();

/// An encoder, or null.
///
/// `grid`: xmin, ymin, zmin, xmax, ymax, zmax, dx, dy in m. `columns` of a point, at least 3.
/// `widths`: of each of the layers. `weights`: of each layer the rows for a point, the rows for
/// what its pillar shares, and the shift; `numbers` in all. `with_distance`: whether the first
/// layer reads the point's distance to the sensor. `threads`: at least 1.
padre3d_encoder* padre3d_encoder_create(const double* grid, std::int64_t columns,
                                        std::int32_t with_distance, std::int64_t layers,
                                        const std::int64_t* widths, const float* weights,
                                        std::int64_t numbers, std::int32_t threads, char* error,
                                        std::size_t error_size);

/// The number of occupied pillars of points (count, columns), or -1, and how many points do not
/// count for NaN, infinity or an absurd number.
std::int64_t padre3d_encoder_locate(padre3d_encoder* encoder, const float* points,
                                    std::int64_t count, std::int64_t* unusable, char* error,
                                    std::size_t error_size);

/// The ascending cells (pillars,) and features (pillars, width of the last layer) of the points
/// that were located last, which must still be there; 0, or -1.
std::int32_t padre3d_encoder_encode(padre3d_encoder* encoder, std::int64_t* cells, float* features,
                                    char* error, std::size_t error_size);

/// Ends its threads and frees its memory; null is allowed.
void padre3d_encoder_destroy(padre3d_encoder* encoder);
}
