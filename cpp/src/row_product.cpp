#include "row_product.hpp"

namespace padre3d {

void row_product_plain(const RowProduct& job);
#ifdef PADRE3D_X86_KERNELS
void row_product_avx2(const RowProduct& job);
void row_product_avx512(const RowProduct& job);
#endif

namespace {

bool always() { return true; }
#ifdef PADRE3D_X86_KERNELS
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
#endif

}  // namespace

const RowKernel kRowKernels[] = {
#ifdef PADRE3D_X86_KERNELS
    {"avx512", row_product_avx512, has_avx512, 16},
    {"avx2", row_product_avx2, has_avx2, 8},
#endif
    {"plain", row_product_plain, always, 4},
};
const std::size_t kNumRowKernels = sizeof kRowKernels / sizeof kRowKernels[0];

const RowKernel& row_kernel() {
    std::size_t i = 0;
    while (!kRowKernels[i].is_supported()) ++i;
    return kRowKernels[i];
}

Floats packed(const float* weight, std::size_t depth, std::size_t width, std::size_t padded,
              const RowKernel& kernel) {
    Floats result;
    result.reserve(depth * padded);
    std::size_t start = 0;
    for (const std::size_t tile : kTiles) {
        const std::size_t columns = tile * kernel.lanes;
        for (; start + columns <= padded; start += columns) {
            for (std::size_t k = 0; k < depth; ++k) {
                for (std::size_t column = start; column < start + columns; ++column) {
                    result.push_back(column < width ? weight[k * width + column] : 0.0F);
                }
            }
        }
    }
    return result;
}

}  // namespace padre3d
