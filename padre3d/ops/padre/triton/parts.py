"""Device functions that the kernels share.

Shapes in a kernel: a block of BT rows (tokens or pillars), channels padded to BD, chunks of BK
channels. ``t`` are token numbers g * L + l, ``keep`` marks those that exist and are valid.
"""

# mypy: disable-error-code="no-untyped-def,misc"
import os

import triton
import triton.language as tl

# numpy, which the interpreter computes with, knows no bfloat16 products.
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET", "0") == "1")


@triton.jit
def token_rows(t, T, index, valid, HAS_INDEX: tl.constexpr, HAS_VALID: tl.constexpr):
    """Pillar row of each token and whether the token is real."""
    keep = t < T
    if HAS_VALID:
        keep = keep & (tl.load(valid + t, mask=keep, other=0) != 0)
    rows = t.to(tl.int64)
    if HAS_INDEX:
        rows = tl.load(index + t, mask=keep, other=0)
    return rows, keep


@triton.jit
def load_tile(base, rows, columns, stride, row_mask, column_mask):
    """Rows x columns of a row-major matrix in single precision, zero where masked."""
    at = base + rows.to(tl.int64)[:, None] * stride + columns[None, :]
    return tl.load(at, mask=row_mask[:, None] & column_mask[None, :], other=0.0).to(tl.float32)


@triton.jit
def load_matrix(base, rows, columns, stride, row_mask, column_mask):
    """``load_tile`` in the stored type, as the tensor cores take it."""
    at = base + rows[:, None] * stride + columns[None, :]
    return tl.load(at, mask=row_mask[:, None] & column_mask[None, :], other=0.0)


@triton.jit
def store_tile(base, value, rows, columns, stride, row_mask, column_mask):
    """The inverse of ``load_tile``."""
    at = base + rows.to(tl.int64)[:, None] * stride + columns[None, :]
    value = value.to(base.dtype.element_ty)
    tl.store(at, value, mask=row_mask[:, None] & column_mask[None, :])


@triton.jit
def load_row(base, columns, mask):
    """A vector in single precision, zero where masked."""
    return tl.load(base + columns, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def product(a, b, total, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """``total + a @ b`` with operands rounded to DTYPE."""
    a = a.to(DTYPE)
    b = b.to(DTYPE)
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def convolve(
    z, stride, t, T, L, k, weight, D: tl.constexpr, TAPS: tl.constexpr, TRANSPOSED: tl.constexpr
):
    """Depthwise convolution of the channels k at the tokens t, inside each sample of L tokens.

    TRANSPOSED reads the taps from the other side: the gradient with respect to the input.
    """
    inside = k < D
    total = tl.zeros([t.shape[0], k.shape[0]], tl.float32)
    for j in tl.static_range(TAPS):
        offset = j - TAPS // 2
        position = t % L + offset
        near = (t < T) & (position >= 0) & (position < L)
        tap = TAPS - 1 - j if TRANSPOSED else j
        w = tl.load(weight + k * TAPS + tap, mask=inside, other=0.0).to(tl.float32)
        total += load_tile(z, t + offset, k, stride, near, inside) * w[None, :]
    return total


@triton.jit
def standardise(x, n, eps, D: tl.constexpr):
    """Zero mean and unit variance over the channels n < D, and 1 / deviation. x is zero beyond."""
    centred = tl.where((n < D)[None, :], x - (tl.sum(x, 1) / D)[:, None], 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred, 1) / D + eps)
    return centred * inverse[:, None], inverse


@triton.jit
def layer_norm(x, n, gamma, beta, eps, D: tl.constexpr):
    """Layer normalisation over the channels n < D; zero beyond."""
    normed, _ = standardise(x, n, eps, D)
    return normed * load_row(gamma, n, n < D)[None, :] + load_row(beta, n, n < D)[None, :]


@triton.jit
def layer_norm_backward(dy, x, n, gamma, eps, D: tl.constexpr):
    """Gradients of a layer normalisation: input, and the block's part of gamma's and beta's."""
    normed, inverse = standardise(x, n, eps, D)
    d_gamma = tl.sum(dy * normed, 0)
    d_beta = tl.sum(dy, 0)
    scaled = dy * load_row(gamma, n, n < D)[None, :]
    mean = tl.sum(scaled, 1) / D
    slope = tl.sum(scaled * normed, 1) / D
    dx = (scaled - mean[:, None] - normed * slope[:, None]) * inverse[:, None]
    return tl.where((n < D)[None, :], dx, 0.0), d_gamma, d_beta


@triton.jit
def gelu(x):
    """The exact GELU."""
    return 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))


@triton.jit
def gelu_slope(x):
    """Derivative of the exact GELU."""
    density = 0.3989422804014327 * tl.exp(-0.5 * x * x)
    return 0.5 * (1.0 + tl.math.erf(x * 0.7071067811865476)) + x * density
