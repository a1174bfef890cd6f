#include "encoder_library.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <system_error>

#include "pillar_encoder.hpp"
#include "text.hpp"
#include "workers.hpp"

struct padre3d_encoder {
    padre3d_encoder(const padre3d::Grid& grid, const padre3d::Tables& tables, std::size_t width,
                    int threads)
        : columns(width), workers(threads), encoder(grid, tables, width, workers) {}

    std::size_t columns;
    padre3d::Workers workers;
    padre3d::PillarEncoder encoder;
    padre3d::PointView points;                         ///< that were located last
    const padre3d::EncodedPillars* pillars = nullptr;  ///< theirs, without features
};

namespace padre3d {
namespace {

constexpr std::int32_t kVersion = 1;
constexpr std::int64_t kMostColumns = std::int64_t{1} << 20;

/// What a call gives, or `failed` and a line in `error`.
template <class Result, class Call>
Result guarded(char* error, std::size_t error_size, Result failed, const Call& call) {
    try {
        return call();
    } catch (const std::bad_alloc&) {
        std::snprintf(error, error_size, "expected memory for its work, the system gave no more");
    } catch (const std::system_error& fault) {
        std::snprintf(error, error_size, "expected its threads, the system gave no more: %s",
                      fault.what());
    } catch (const std::exception& fault) {
        std::snprintf(error, error_size, "%s", fault.what());
    } catch (...) {
        std::snprintf(error, error_size, "an exception of an unknown type");
    }
    return failed;
}

std::size_t size_within(const char* name, std::int64_t value, std::int64_t least,
                        std::int64_t most) {
    if (value < least || value > most) {
        fail(name, ": expected ", least, " to ", most, ", got ", value);
    }
    return static_cast<std::size_t>(value);
}

/// Takes matrices off a row of numbers.
class Weights {
public:
    Weights(const float* first, std::int64_t count) : next_(first), all_(count), left_(count) {}

    Matrix matrix(std::size_t rows, std::size_t columns) {
        const auto size = static_cast<std::int64_t>(rows * columns);
        if (size > left_) {
            fail("weights: expected at least ", all_ - left_ + size, " numbers, got ", all_);
        }
        Matrix result{rows, columns, Floats(next_, next_ + size)};
        next_ += size;
        left_ -= size;
        return result;
    }
    void check_all_taken() const {
        if (left_ > 0) fail("weights: expected ", all_ - left_, " numbers, got ", all_);
    }

private:
    const float* next_;
    std::int64_t all_, left_;
};

Tables tables_of(std::size_t columns, bool with_distance, std::int64_t layers,
                 const std::int64_t* widths, Weights weights) {
    Tables tables;
    tables.with_distance = with_distance;
    std::size_t point = columns + kDescribed + (with_distance ? 1 : 0), pillar = 0;
    for (std::int64_t i = 0; i < layers; ++i) {
        const std::size_t width = size_within("width", widths[i], 1, kMostColumns);
        Matrix of_point = weights.matrix(point, width), of_pillar = weights.matrix(pillar, width);
        tables.layers.push_back({of_point, of_pillar, weights.matrix(1, width).values});
        point = pillar = width;
    }
    if (layers < 1) fail("layers: expected at least one, got ", layers);
    weights.check_all_taken();
    return tables;
}

}  // namespace
}  // namespace padre3d

std::int32_t padre3d_encoder_version() { return padre3d::kVersion; }

padre3d_encoder* padre3d_encoder_create(const double* grid, std::int64_t columns,
                                        std::int32_t with_distance, std::int64_t layers,
                                        const std::int64_t* widths, const float* weights,
                                        std::int64_t numbers, std::int32_t threads, char* error,
                                        std::size_t error_size) {
    padre3d_encoder* none = nullptr;
    return padre3d::guarded(error, error_size, none, [&] {
        padre3d::Grid of_cells;
        std::copy_n(grid, 6, of_cells.range_m.begin());
        std::copy_n(grid + 6, 2, of_cells.cell_m.begin());
        of_cells.check();
        const auto width = padre3d::size_within("columns", columns, 3, padre3d::kMostColumns);
        padre3d::size_within("threads", threads, 1, std::numeric_limits<std::int32_t>::max());
        const auto tables = padre3d::tables_of(width, with_distance != 0, layers, widths,
                                               padre3d::Weights(weights, numbers));
        return std::make_unique<padre3d_encoder>(of_cells, tables, width, threads).release();
    });
}

std::int64_t padre3d_encoder_locate(padre3d_encoder* encoder, const float* points,
                                    std::int64_t count, std::int64_t* unusable, char* error,
                                    std::size_t error_size) {
    return padre3d::guarded(error, error_size, std::int64_t{-1}, [&] {
        encoder->pillars = nullptr;
        const auto number =
            padre3d::size_within("points", count, 0, std::numeric_limits<std::int32_t>::max());
        encoder->points = {points, number, encoder->columns};
        encoder->pillars = &encoder->encoder.locate(encoder->points);
        *unusable = static_cast<std::int64_t>(encoder->pillars->unusable);
        return static_cast<std::int64_t>(encoder->pillars->cells.size());
    });
}

std::int32_t padre3d_encoder_encode(padre3d_encoder* encoder, std::int64_t* cells, float* features,
                                    char* error, std::size_t error_size) {
    return padre3d::guarded(error, error_size, std::int32_t{-1}, [&] {
        if (encoder->pillars == nullptr) padre3d::fail("encode: expected points located before");
        const auto& found = encoder->pillars->cells;
        std::copy(found.begin(), found.end(), cells);
        encoder->encoder.write_features(encoder->points, features);
        return std::int32_t{0};
    });
}

void padre3d_encoder_destroy(padre3d_encoder* encoder) { delete encoder; }
