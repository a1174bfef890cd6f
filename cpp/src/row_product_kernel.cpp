// One product for all instruction sets: compiled once for each, as PADRE3D_KERNEL with the lanes
// of its vectors in PADRE3D_LANES. Nothing of the standard library is used here, so that no inline
// function with wide instructions can take the place of its namesake elsewhere.
//
// A rectifier leaves about half of its numbers 0. Skipping them beats the blocking over rows that
// a dense product has: each row keeps a tile of its sums in registers and adds one row of the
// weights, which lie in the first-level cache, for each number that is not 0.

#include "row_product.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace padre3d {
namespace {

using Kind = RowProduct::Kind;

constexpr std::size_t kVector = PADRE3D_LANES;
// So few numbers, those of a point, are taken as they are: hardly any of them is 0.
constexpr std::size_t kFew = 16;

typedef float Vector __attribute__((vector_size(kVector * sizeof(float))));

inline Vector load(const float* from) {
    Vector value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

inline void store(float* to, Vector value) { __builtin_memcpy(to, &value, sizeof value); }

inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

/// Which of up to 64 numbers are not 0, the first in the lowest bit.
inline std::uint64_t nonzero_bits(const float* x, std::size_t count) {
    std::uint64_t bits = 0;
    std::size_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16) {
        const __m512 values = _mm512_loadu_ps(x + i);
        const __mmask16 mask = _mm512_cmp_ps_mask(values, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        bits |= static_cast<std::uint64_t>(mask) << i;
    }
#endif
#if defined(__SSE2__)
    for (; i + 4 <= count; i += 4) {
        const int mask = _mm_movemask_ps(_mm_cmpneq_ps(_mm_loadu_ps(x + i), _mm_setzero_ps()));
        bits |= static_cast<std::uint64_t>(mask) << i;
    }
#endif
    for (; i < count; ++i) bits |= static_cast<std::uint64_t>(x[i] != 0.0F) << i;
    return bits;
}

template <std::size_t kTile>
inline void add_row(float x, const float* weight, std::size_t k, Vector* sum) {
    const float* line = weight + k * kTile * kVector;
    for (std::size_t i = 0; i < kTile; ++i) sum[i] += x * load(line + i * kVector);
}

template <std::size_t kTile>
inline void add_all(const float* x, const float* weight, std::size_t depth, Vector* sum) {
    for (std::size_t k = 0; k < depth; ++k) add_row<kTile>(x[k], weight, k, sum);
}

template <std::size_t kTile>
inline void add_nonzero(const float* x, const float* weight, std::size_t depth, Vector* sum) {
    for (std::size_t first = 0; first < depth; first += 64) {
        const std::size_t left = depth - first;
        std::uint64_t bits = nonzero_bits(x + first, left < 64 ? left : 64);
        for (; bits != 0; bits &= bits - 1) {
            const std::size_t k = first + static_cast<std::size_t>(__builtin_ctzll(bits));
            add_row<kTile>(x[k], weight, k, sum);
        }
    }
}

/// One tile of the columns of all rows.
template <Kind kKind, bool kIsShort, std::size_t kTile>
void tile(const RowProduct& job, std::size_t column) {
    const float* weight = job.weight + job.depth * column;
    for (std::size_t row = 0; row < job.count;) {
        const std::int32_t pillar = job.pillar[row];
        const std::size_t at = static_cast<std::size_t>(pillar) * job.width + column;
        const float* start = job.start + at;
        Vector most[kTile];
        for (std::size_t i = 0; i < kTile; ++i) most[i] = Vector{} - __builtin_inff();
        for (; row < job.count && job.pillar[row] == pillar; ++row) {
            Vector sum[kTile];
            for (std::size_t i = 0; i < kTile; ++i) {
                sum[i] = kKind == Kind::last ? Vector{} : load(start + i * kVector);
            }
            const float* x = job.x + row * job.depth;
            if constexpr (kIsShort)
                add_all<kTile>(x, weight, job.depth, sum);
            else
                add_nonzero<kTile>(x, weight, job.depth, sum);
            float* out = kKind == Kind::last ? nullptr : job.rows + row * job.width + column;
            for (std::size_t i = 0; i < kTile; ++i) {
                if (kKind == Kind::hidden) sum[i] = larger(sum[i], Vector{});
                if (kKind != Kind::last) store(out + i * kVector, sum[i]);
                if (kKind != Kind::plain) most[i] = larger(sum[i], most[i]);
            }
        }
        for (std::size_t i = 0; kKind != Kind::plain && i < kTile; ++i) {
            if (kKind == Kind::last)
                most[i] = larger(most[i] + load(start + i * kVector), Vector{});
            store(job.most + at + i * kVector, most[i]);
        }
    }
}

template <Kind kKind, bool kIsShort, std::size_t kTile>
inline void tiles(const RowProduct& job, std::size_t& column) {
    constexpr std::size_t kColumns = kTile * kVector;
    for (; column + kColumns <= job.width; column += kColumns) {
        tile<kKind, kIsShort, kTile>(job, column);
    }
}

template <Kind kKind, bool kIsShort>
void all_tiles(const RowProduct& job) {
    std::size_t column = 0;
    tiles<kKind, kIsShort, kTiles[0]>(job, column);
    tiles<kKind, kIsShort, kTiles[1]>(job, column);
    tiles<kKind, kIsShort, kTiles[2]>(job, column);
    tiles<kKind, kIsShort, kTiles[3]>(job, column);
}

template <Kind kKind>
void run(const RowProduct& job) {
    if (job.depth <= kFew)
        all_tiles<kKind, true>(job);
    else
        all_tiles<kKind, false>(job);
}

}  // namespace

void PADRE3D_KERNEL(const RowProduct& job) {
    switch (job.kind) {
        case Kind::hidden: return run<Kind::hidden>(job);
        case Kind::last: return run<Kind::last>(job);
        case Kind::plain: return run<Kind::plain>(job);
    }
}

}  // namespace padre3d
