"""Backward kernels: everything but the gradients of the matrices, which are matrix products.

Sums over rows (gradients of norms, biases and convolutions) are left as one partial sum per block.
"""

# mypy: disable-error-code="no-untyped-def,misc"
import triton
import triton.language as tl

from padre3d.ops.padre.triton.forward import powers
from padre3d.ops.padre.triton.parts import (
    convolve,
    gelu,
    gelu_slope,
    layer_norm,
    layer_norm_backward,
    load_matrix,
    load_row,
    load_tile,
    product,
    store_tile,
    token_rows,
)


@triton.jit(do_not_specialize=["N"])
def finish_backward(
    d_out,
    x,
    sum1,
    sum2,
    gamma1,
    beta1,
    w1,
    b1,
    w2,
    gamma2,
    beta2,
    gamma3,
    dx,
    d_sum1,
    d_sum2,
    normed,
    hidden,
    d_hidden,
    partial,
    N,
    eps1,
    eps2,
    eps3,
    D: tl.constexpr,
    F: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
    BF: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """From the gradient of the output to those of the residual x and of the mixed tokens.

    Rows are pillars. ``partial`` (blocks, 8 D + F): gamma and beta of the norms 3, 2, 1, the biases
    of V and of the second and the first feed-forward layer.
    """
    r = tl.program_id(0) * BT + tl.arange(0, BT)
    keep = r < N
    n = tl.arange(0, BD)
    inside = n < D
    dtype: tl.constexpr = normed.dtype.element_ty
    partial += tl.program_id(0).to(tl.int64) * (8 * D + F)

    s2 = load_tile(sum2, r, n, D, keep, inside)
    s3 = layer_norm(s2, n, gamma2, beta2, eps2, D) + load_tile(x, r, n, D, keep, inside)
    d3 = load_tile(d_out, r, n, D, keep, inside)
    d3, d_gamma, d_beta = layer_norm_backward(d3, s3, n, gamma3, eps3, D)
    tl.store(partial + n, d_gamma, mask=inside)
    tl.store(partial + D + n, d_beta, mask=inside)
    d2, d_gamma, d_beta = layer_norm_backward(d3, s2, n, gamma2, eps2, D)
    tl.store(partial + 2 * D + n, d_gamma, mask=inside)
    tl.store(partial + 3 * D + n, d_beta, mask=inside)
    tl.store(partial + 7 * D + n, tl.sum(d2, 0), mask=inside)
    store_tile(d_sum2, d2, r, n, D, keep, inside)

    s1 = load_tile(sum1, r, n, D, keep, inside)
    rows = layer_norm(s1, n, gamma1, beta1, eps1, D)
    store_tile(normed, rows, r, n, D, keep, inside)
    d1 = d2
    for f0 in range(0, F, BF):
        f = f0 + tl.arange(0, BF)
        first = load_matrix(w1, f, n, D, f < F, inside)
        before = product(rows, tl.trans(first), tl.zeros([BT, BF], tl.float32), dtype, PRECISION)
        before += load_row(b1, f, f < F)[None, :]
        store_tile(hidden, gelu(before), r, f, F, keep, f < F)
        second = load_matrix(w2, n, f, F, inside, f < F)
        slope = product(d2, second, tl.zeros([BT, BF], tl.float32), dtype, PRECISION)
        slope *= gelu_slope(before)
        store_tile(d_hidden, slope, r, f, F, keep, f < F)
        tl.store(partial + 8 * D + f, tl.sum(slope, 0), mask=f < F)
        d1 = product(slope, first, d1, dtype, PRECISION)

    d1, d_gamma, d_beta = layer_norm_backward(d1, s1, n, gamma1, eps1, D)
    tl.store(partial + 4 * D + n, d_gamma, mask=inside)
    tl.store(partial + 5 * D + n, d_beta, mask=inside)
    tl.store(partial + 6 * D + n, tl.sum(d1, 0), mask=inside)
    store_tile(d_sum1, d1, r, n, D, keep, inside)
    store_tile(dx, d1 + d3, r, n, D, keep, inside)


@triton.jit(do_not_specialize=["T", "L"])
def mix_backward(
    d_mixed,
    z_in,
    y,
    z,
    index,
    valid,
    conv_weight,
    conv_bias,
    v_weight,
    p,
    d_p,
    dc,
    dy,
    T,
    L,
    D: tl.constexpr,
    DEGREE: tl.constexpr,
    IN_STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
    BK: tl.constexpr,
    PRECISION: tl.constexpr,
    HAS_INDEX: tl.constexpr,
    HAS_VALID: tl.constexpr,
):
    """Back through V, the sum and the last product.

    ``d_mixed`` and ``p`` (the sum, for V's gradient) are rows of pillars if there is an index;
    ``dc`` (T, D) is the gradient of the last convolution's output, ``dy`` that of the factors.
    """
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    rows, keep = token_rows(t, T, index, valid, HAS_INDEX, HAS_VALID)
    n = tl.arange(0, BD)
    dtype: tl.constexpr = y.dtype.element_ty
    gradient = load_tile(d_mixed, rows, n, D, keep, n < D)
    # With an index every pillar has a valid token; without one masked rows must be zeros.
    written = keep if HAS_INDEX else t < T
    for k0 in range(0, D, BK):
        k = k0 + tl.arange(0, BK)
        matrix = load_matrix(v_weight, n, k, D, n < D, k < D)
        dz = product(gradient, matrix, tl.zeros([BT, BK], tl.float32), dtype, PRECISION)
        total, mixed, factor = powers(
            z_in, y, z, conv_weight, conv_bias, t, k, keep, T, L, D, DEGREE, IN_STRIDE, TAPS
        )
        store_tile(p, tl.where(keep[:, None], total, 0.0), rows, k, D, written, k < D)
        if DEGREE > 2:
            store_tile(d_p, dz, t, k, D, t < T, k < D)
        store_tile(dc, dz * factor, t, k, D, t < T, k < D)
        store_tile(dy + (DEGREE - 1) * D, dz * mixed, t, k, DEGREE * D, t < T, k < D)


@triton.jit
def convolve_backward(
    dc,
    z,
    weight,
    t,
    T,
    L,
    k,
    partial,
    D: tl.constexpr,
    STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
):
    """Gradient of a convolution's input; parts of those of its taps and bias go to ``partial``."""
    here = load_tile(dc, t, k, D, t < T, k < D)
    for j in tl.static_range(TAPS):
        offset = j - TAPS // 2
        position = t % L + offset
        near = (t < T) & (position >= 0) & (position < L)
        neighbour = load_tile(z, t + offset, k, STRIDE, near, k < D)
        tl.store(partial + j * D + k, tl.sum(here * neighbour, 0), mask=k < D)
    tl.store(partial + TAPS * D + k, tl.sum(here, 0), mask=k < D)
    return convolve(dc, D, t, T, L, k, weight, D, TAPS, True)


@triton.jit(do_not_specialize=["T", "L"])
def step_backward(
    dc,
    d_p,
    z_in,
    z_before,
    y,
    valid,
    weight,
    before_weight,
    before_bias,
    dc_before,
    dy,
    partial,
    T,
    L,
    D: tl.constexpr,
    DEGREE: tl.constexpr,
    STEP: tl.constexpr,
    IN_STRIDE: tl.constexpr,
    BEFORE_STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    ROW: tl.constexpr,
    BT: tl.constexpr,
    BK: tl.constexpr,
    HAS_VALID: tl.constexpr,
):
    """Back through C_i and through the product that made Z_i, for i = STEP = d-1 .. 2."""
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    _, keep = token_rows(t, T, valid, valid, False, HAS_VALID)
    k = tl.program_id(1) * BK + tl.arange(0, BK)
    partial += (tl.program_id(0).to(tl.int64) * ROWS + ROW) * D
    dz = convolve_backward(dc, z_in, weight, t, T, L, k, partial, D, IN_STRIDE, TAPS)
    dz = tl.where(keep[:, None], dz + load_tile(d_p, t, k, D, keep, k < D), 0.0)
    mixed = convolve(z_before, BEFORE_STRIDE, t, T, L, k, before_weight, D, TAPS, False)
    mixed += load_row(before_bias, k, k < D)[None, :]
    store_tile(dy + (STEP - 1) * D, dz * mixed, t, k, DEGREE * D, t < T, k < D)
    factor = load_tile(y + (STEP - 1) * D, t, k, DEGREE * D, keep, k < D)
    store_tile(dc_before, dz * factor, t, k, D, t < T, k < D)


@triton.jit(do_not_specialize=["T", "L"])
def project_backward(
    dc,
    x,
    pos,
    index,
    valid,
    y,
    conv_weight,
    w1,
    w2,
    w3,
    w4,
    residual,
    dy,
    tokens,
    dx,
    d_pos,
    partial,
    T,
    L,
    D: tl.constexpr,
    DEGREE: tl.constexpr,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
    BK: tl.constexpr,
    PRECISION: tl.constexpr,
    HAS_POS: tl.constexpr,
    HAS_INDEX: tl.constexpr,
    HAS_VALID: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
):
    """Back through C_1 and the channel maps to x and pos; rebuilds ``tokens`` for B's gradient.

    ``partial`` (blocks, ROWS, D): the d biases b_i, then for each convolution its taps and bias.
    """
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    rows, keep = token_rows(t, T, index, valid, HAS_INDEX, HAS_VALID)
    n = tl.arange(0, BD)
    dtype: tl.constexpr = y.dtype.element_ty
    partial += tl.program_id(0).to(tl.int64) * ROWS * D
    total = tl.zeros([BT, BD], tl.float32)
    for i in tl.static_range(DEGREE):
        weight = w1 if i == 0 else (w2 if i == 1 else (w3 if i == 2 else w4))
        for k0 in range(0, D, BK):
            k = k0 + tl.arange(0, BK)
            if i == 0:
                gradient = convolve_backward(
                    dc, y, conv_weight, t, T, L, k, partial + DEGREE * D, D, DEGREE * D, TAPS
                )
                gradient = tl.where(keep[:, None], gradient, 0.0)
                store_tile(dy, gradient, t, k, DEGREE * D, t < T, k < D)
            else:
                gradient = load_tile(dy + i * D, t, k, DEGREE * D, t < T, k < D)
            tl.store(partial + i * D + k, tl.sum(gradient, 0), mask=k < D)
            matrix = load_matrix(weight, k, n, D, k < D, n < D)
            total = product(gradient, matrix, total, dtype, PRECISION)
    value = load_tile(x, rows, n, D, keep, n < D)
    if HAS_POS:
        value += load_tile(pos, rows, n, D, keep, n < D)
        store_tile(d_pos, total, rows, n, D, keep, n < D)
    store_tile(tokens, value, t, n, D, t < T, n < D)
    if HAS_RESIDUAL:
        total += load_tile(residual, rows, n, D, keep, n < D)
    written = keep if HAS_INDEX else t < T
    store_tile(dx, total, rows, n, D, written, n < D)
