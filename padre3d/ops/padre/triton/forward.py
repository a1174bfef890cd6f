"""Forward kernels. T tokens in samples of L, N pillars, D channels, F hidden channels.

``y`` is (T, DEGREE * D): the factors side by side. ``z`` is (T, max(DEGREE - 2, 1) * D): the
products Z_2 .. Z_{d-1}. Rows of masked tokens are written as zeros, so that no later kernel needs
the mask to convolve.
"""

# mypy: disable-error-code="no-untyped-def,misc"
import triton
import triton.language as tl

from padre3d.ops.padre.triton.parts import (
    convolve,
    gelu,
    layer_norm,
    load_matrix,
    load_row,
    load_tile,
    product,
    store_tile,
    token_rows,
)


@triton.jit(do_not_specialize=["T", "L"])
def project(
    x,
    pos,
    window_index,
    index,
    valid,
    w1,
    w2,
    w3,
    w4,
    b1,
    b2,
    b3,
    b4,
    y,
    T,
    L,
    D: tl.constexpr,
    DEGREE: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
    BK: tl.constexpr,
    PRECISION: tl.constexpr,
    HAS_POS: tl.constexpr,
    HAS_WINDOW_INDEX: tl.constexpr,
    HAS_INDEX: tl.constexpr,
    HAS_VALID: tl.constexpr,
):
    """Eq. 1: ``Y_i = (x + pos[window_index])[index] B_i + b_i`` for all factors."""
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    rows, keep = token_rows(t, T, index, valid, HAS_INDEX, HAS_VALID)
    pos_rows = rows
    if HAS_WINDOW_INDEX:
        pos_rows = tl.load(window_index + rows, mask=keep, other=0)
    n = tl.arange(0, BD)
    for i in tl.static_range(DEGREE):
        weight = w1 if i == 0 else (w2 if i == 1 else (w3 if i == 2 else w4))
        bias = b1 if i == 0 else (b2 if i == 1 else (b3 if i == 2 else b4))
        total = tl.zeros([BT, BD], tl.float32)
        for k0 in range(0, D, BK):
            k = k0 + tl.arange(0, BK)
            tokens = load_tile(x, rows, k, D, keep, k < D)
            if HAS_POS:
                tokens += load_tile(pos, pos_rows, k, D, keep, k < D)
            matrix = tl.trans(load_matrix(weight, n, k, D, n < D, k < D))
            total = product(tokens, matrix, total, y.dtype.element_ty, PRECISION)
        total += load_row(bias, n, n < D)[None, :]
        total = tl.where(keep[:, None], total, 0.0)
        store_tile(y + i * D, total, t, n, DEGREE * D, t < T, n < D)


@triton.jit(do_not_specialize=["T", "L"])
def step(
    z_in,
    y,
    valid,
    weight,
    bias,
    z_out,
    T,
    L,
    D: tl.constexpr,
    DEGREE: tl.constexpr,
    STEP: tl.constexpr,
    IN_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    BT: tl.constexpr,
    BK: tl.constexpr,
    HAS_VALID: tl.constexpr,
):
    """Eq. 3 for Z_{i+1}, i = STEP < d - 1: ``(C_i Z_i + c) * Y_{i+1}``."""
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    _, keep = token_rows(t, T, valid, valid, False, HAS_VALID)
    k = tl.program_id(1) * BK + tl.arange(0, BK)
    mixed = convolve(z_in, IN_STRIDE, t, T, L, k, weight, D, TAPS, False)
    mixed += load_row(bias, k, k < D)[None, :]
    z = mixed * load_tile(y + STEP * D, t, k, DEGREE * D, keep, k < D)
    store_tile(z_out, z, t, k, OUT_STRIDE, t < T, k < D)


@triton.jit
def powers(
    z_in,
    y,
    z,
    conv_weight,
    conv_bias,
    t,
    k,
    keep,
    T,
    L,
    D: tl.constexpr,
    DEGREE: tl.constexpr,
    IN_STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
):
    """Channels k of the sum ``Z_2 + .. + Z_d``, of ``C_{d-1} Z_{d-1}`` and of ``Y_d``."""
    mixed = convolve(z_in, IN_STRIDE, t, T, L, k, conv_weight, D, TAPS, False)
    mixed += load_row(conv_bias, k, k < D)[None, :]
    factor = load_tile(y + (DEGREE - 1) * D, t, k, DEGREE * D, keep, k < D)
    total = mixed * factor
    for i in tl.static_range(DEGREE - 2):
        total += load_tile(z + i * D, t, k, (DEGREE - 2) * D, keep, k < D)
    return total, mixed, factor


@triton.jit
def mixed_tokens(
    z_in,
    y,
    z,
    conv_weight,
    conv_bias,
    v_weight,
    v_bias,
    t,
    n,
    keep,
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
):
    """Eqs. 3, 6 and 7: ``(Z_2 + .. + Z_d) V + v`` of a block of tokens."""
    total = tl.zeros([BT, BD], tl.float32)
    for k0 in range(0, D, BK):
        k = k0 + tl.arange(0, BK)
        p, _, _ = powers(
            z_in, y, z, conv_weight, conv_bias, t, k, keep, T, L, D, DEGREE, IN_STRIDE, TAPS
        )
        matrix = tl.trans(load_matrix(v_weight, n, k, D, n < D, k < D))
        total = product(p, matrix, total, y.dtype.element_ty, PRECISION)
    return total + load_row(v_bias, n, n < D)[None, :]


@triton.jit(do_not_specialize=["T", "L"])
def mix(
    z_in,
    y,
    z,
    valid,
    conv_weight,
    conv_bias,
    v_weight,
    v_bias,
    out,
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
    HAS_VALID: tl.constexpr,
):
    """The end of the mixer alone: tokens (T, D), zero where masked."""
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    _, keep = token_rows(t, T, valid, valid, False, HAS_VALID)
    n = tl.arange(0, BD)
    mixed = mixed_tokens(
        z_in,
        y,
        z,
        conv_weight,
        conv_bias,
        v_weight,
        v_bias,
        t,
        n,
        keep,
        T,
        L,
        D,
        DEGREE,
        IN_STRIDE,
        TAPS,
        BT,
        BD,
        BK,
        PRECISION,
    )
    store_tile(out, tl.where(keep[:, None], mixed, 0.0), t, n, D, t < T, n < D)


@triton.jit(do_not_specialize=["T", "L"])
def finish(
    z_in,
    y,
    z,
    x,
    index,
    valid,
    conv_weight,
    conv_bias,
    v_weight,
    v_bias,
    gamma1,
    beta1,
    w1,
    b1,
    w2,
    b2,
    gamma2,
    beta2,
    gamma3,
    beta3,
    sum1,
    sum2,
    out,
    T,
    L,
    eps1,
    eps2,
    eps3,
    D: tl.constexpr,
    F: tl.constexpr,
    DEGREE: tl.constexpr,
    IN_STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
    BK: tl.constexpr,
    BF: tl.constexpr,
    PRECISION: tl.constexpr,
    HAS_INDEX: tl.constexpr,
    HAS_VALID: tl.constexpr,
    SAVE: tl.constexpr,
):
    """The end of the encoder layer: from the last convolution to the output rows (N, D).

    SAVE keeps the inputs of the first two norms, ``sum1`` and ``sum2``, for the gradient.
    """
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    rows, keep = token_rows(t, T, index, valid, HAS_INDEX, HAS_VALID)
    n = tl.arange(0, BD)
    inside = n < D
    dtype: tl.constexpr = y.dtype.element_ty
    total = mixed_tokens(
        z_in,
        y,
        z,
        conv_weight,
        conv_bias,
        v_weight,
        v_bias,
        t,
        n,
        keep,
        T,
        L,
        D,
        DEGREE,
        IN_STRIDE,
        TAPS,
        BT,
        BD,
        BK,
        PRECISION,
    )
    total += load_tile(x, rows, n, D, keep, inside)
    if SAVE:
        store_tile(sum1, total, rows, n, D, keep, inside)
    normed = layer_norm(total, n, gamma1, beta1, eps1, D)
    total = normed + load_row(b2, n, inside)[None, :]
    for f0 in range(0, F, BF):
        f = f0 + tl.arange(0, BF)
        matrix = tl.trans(load_matrix(w1, f, n, D, f < F, inside))
        hidden = product(normed, matrix, tl.zeros([BT, BF], tl.float32), dtype, PRECISION)
        hidden = gelu(hidden + load_row(b1, f, f < F)[None, :])
        matrix = tl.trans(load_matrix(w2, n, f, F, inside, f < F))
        total = product(hidden, matrix, total, dtype, PRECISION)
    if SAVE:
        store_tile(sum2, total, rows, n, D, keep, inside)
    total = layer_norm(total, n, gamma2, beta2, eps2, D)
    total += load_tile(x, rows, n, D, keep, inside)
    total = layer_norm(total, n, gamma3, beta3, eps3, D)
    store_tile(out, total, rows, n, D, keep, inside)
