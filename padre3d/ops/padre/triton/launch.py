"""Buffers, block sizes and launches of the kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

from padre3d.ops.padre.triton import backward, forward
from padre3d.ops.padre.triton.records import (
    LayerWeights,
    MixerGradients,
    MixerWeights,
    Rows,
    Saved,
)


@lru_cache(maxsize=64)
def block_sizes(dim: int, hidden: int) -> dict[str, Any]:
    """Rows and channels of a block, and chunks of the reductions.

    Chosen from what the compiler reports for sm_90 and D = 128, not from timings: two or three
    blocks fit a multiprocessor, and the forward kernels spill next to nothing.
    """
    channels = max(16, triton.next_power_of_2(dim))
    return {
        "rows": 32 if channels <= 128 else 16,
        "channels": channels,
        "chunk": min(channels, 32),
        "hidden_chunk": min(max(16, triton.next_power_of_2(hidden)), 32),
        "warps": 4 if channels <= 128 else 8,
        "stages": 2,
    }


def _common(w: MixerWeights, hidden: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the kernels that work on whole rows, and of those that work on chunks."""
    dim = w.v_weight.shape[0]
    size = block_sizes(dim, hidden)
    chunked = {
        "D": dim,
        "DEGREE": w.degree,
        "BT": size["rows"],
        "BK": size["chunk"],
        "num_warps": size["warps"],
        "num_stages": size["stages"],
    }
    return chunked | {"BD": size["channels"], "PRECISION": precision()}, chunked


def precision() -> str:
    """Products of single precision follow torch's own setting."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def _last_input(w: MixerWeights, saved: Saved, i: int) -> tuple[Tensor, int]:
    """Z_i, the input of convolution i (1-based), and its row stride."""
    dim = w.v_weight.shape[0]
    if i == 1:
        return saved.y, w.degree * dim
    return saved.z[:, (i - 2) * dim :], (w.degree - 2) * dim


def to_last_convolution(
    x: Tensor, pos: Tensor | None, rows: Rows, w: MixerWeights, dtype: torch.dtype
) -> Saved:
    """The factors Y_1 .. Y_d and the products Z_2 .. Z_{d-1}: d - 1 launches."""
    dim, degree, taps = x.shape[1], w.degree, w.c_weight[0].shape[-1]
    y = torch.empty(rows.tokens, degree * dim, dtype=dtype, device=x.device)
    z = y if degree == 2 else y.new_empty(rows.tokens, (degree - 2) * dim)
    whole, chunked = _common(w)
    blocks = triton.cdiv(rows.tokens, whole["BT"])
    weights, biases = w.four_maps()
    forward.project[(blocks,)](
        x,
        _or(pos, x),
        _or(rows.window_index, y),
        _or(rows.index, y),
        _or(rows.valid, y),
        *weights,
        *biases,
        y,
        rows.tokens,
        rows.length,
        HAS_POS=pos is not None,
        HAS_WINDOW_INDEX=rows.window_index is not None,
        HAS_INDEX=rows.index is not None,
        HAS_VALID=rows.valid is not None,
        **whole,
    )
    saved = Saved(y, z)
    for i in range(1, degree - 1):
        z_in, stride = _last_input(w, saved, i)
        forward.step[(blocks, triton.cdiv(dim, chunked["BK"]))](
            z_in,
            y,
            _or(rows.valid, y),
            w.c_weight[i - 1],
            w.c_bias[i - 1],
            z[:, (i - 1) * dim :],
            rows.tokens,
            rows.length,
            STEP=i,
            IN_STRIDE=stride,
            OUT_STRIDE=z.shape[1],
            TAPS=taps,
            HAS_VALID=rows.valid is not None,
            **chunked,
        )
    return saved


def mix(rows: Rows, w: MixerWeights, saved: Saved) -> Tensor:
    """The end of the mixer alone: tokens (T, D)."""
    dim = w.v_weight.shape[0]
    out = saved.y.new_empty(rows.tokens, dim)
    whole, _ = _common(w)
    z_in, stride = _last_input(w, saved, w.degree - 1)
    forward.mix[(triton.cdiv(rows.tokens, whole["BT"]),)](
        z_in,
        saved.y,
        saved.z,
        _or(rows.valid, out),
        w.c_weight[-1],
        w.c_bias[-1],
        w.v_weight,
        w.v_bias,
        out,
        rows.tokens,
        rows.length,
        IN_STRIDE=stride,
        TAPS=w.c_weight[-1].shape[-1],
        HAS_VALID=rows.valid is not None,
        **whole,
    )
    return out


def finish(
    x: Tensor, rows: Rows, w: MixerWeights, ffn: LayerWeights, saved: Saved, save: bool
) -> tuple[Tensor, Saved]:
    """The end of the encoder layer: rows (N, D)."""
    out = torch.empty_like(x)
    sum1, sum2 = (torch.empty_like(x), torch.empty_like(x)) if save else (out, out)
    hidden = ffn.w1.shape[0]
    whole, _ = _common(w, hidden)
    z_in, stride = _last_input(w, saved, w.degree - 1)
    forward.finish[(triton.cdiv(rows.tokens, whole["BT"]),)](
        z_in,
        saved.y,
        saved.z,
        x,
        _or(rows.index, x),
        _or(rows.valid, x),
        w.c_weight[-1],
        w.c_bias[-1],
        w.v_weight,
        w.v_bias,
        ffn.gamma1,
        ffn.beta1,
        ffn.w1,
        ffn.b1,
        ffn.w2,
        ffn.b2,
        ffn.gamma2,
        ffn.beta2,
        ffn.gamma3,
        ffn.beta3,
        sum1,
        sum2,
        out,
        rows.tokens,
        rows.length,
        *ffn.eps,
        F=hidden,
        IN_STRIDE=stride,
        TAPS=w.c_weight[-1].shape[-1],
        BF=_hidden_chunk(ffn),
        HAS_INDEX=rows.index is not None,
        HAS_VALID=rows.valid is not None,
        SAVE=save,
        **whole,
    )
    return out, Saved(saved.y, saved.z, sum1, sum2) if save else saved


def finish_backward(
    d_out: Tensor, x: Tensor, w: MixerWeights, ffn: LayerWeights, saved: Saved
) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    """Gradients of the residual x, the mixed rows, the weights of the layer, and V's bias.

    The weights' gradients come in the order of :class:`LayerWeights`.
    """
    assert saved.sum1 is not None
    assert saved.sum2 is not None
    n, dim, hidden = *x.shape, ffn.w1.shape[0]
    whole, _ = _common(w, hidden)
    blocks = triton.cdiv(n, whole["BT"])
    narrow = [saved.y.new_empty(n, dim) for _ in range(3)]
    wide = [saved.y.new_empty(n, hidden) for _ in range(2)]
    partial = x.new_empty(blocks, 8 * dim + hidden, dtype=torch.float32)
    dx = torch.empty_like(x)
    backward.finish_backward[(blocks,)](
        d_out,
        x,
        saved.sum1,
        saved.sum2,
        ffn.gamma1,
        ffn.beta1,
        ffn.w1,
        ffn.b1,
        ffn.w2,
        ffn.gamma2,
        ffn.beta2,
        ffn.gamma3,
        dx,
        *narrow,
        *wide,
        partial,
        n,
        *ffn.eps,
        D=dim,
        F=hidden,
        BF=_hidden_chunk(ffn),
        **{key: whole[key] for key in ("BT", "BD", "PRECISION", "num_warps", "num_stages")},
    )
    d_sum1, d_sum2, normed = narrow
    sums = partial.sum(0)
    g3, e3, g2, e2, g1, e1, v_bias, b2 = sums[: 8 * dim].view(8, dim)
    w1, w2 = wide[1].T @ normed, d_sum2.T @ wide[0]
    return dx, d_sum1, [g1, e1, w1, sums[8 * dim :], w2, b2, g2, e2, g3, e3], v_bias


def mixer_backward(
    d_mixed: Tensor,
    residual: Tensor | None,
    x: Tensor,
    pos: Tensor | None,
    rows: Rows,
    w: MixerWeights,
    saved: Saved,
) -> MixerGradients:
    """Back from the mixed rows to x; ``residual`` is added to the gradient of x."""
    y, degree, taps, dim = saved.y, w.degree, w.c_weight[0].shape[-1], x.shape[1]
    whole, chunked = _common(w)
    blocks = triton.cdiv(rows.tokens, whole["BT"])
    flags = {"HAS_VALID": rows.valid is not None, "TAPS": taps}
    indexed = flags | {"HAS_INDEX": rows.index is not None}
    index, valid = _or(rows.index, x), _or(rows.valid, x)
    p = y.new_empty(len(x), dim)
    dc, d_p = y.new_empty(rows.tokens, dim), y.new_empty(rows.tokens, dim if degree > 2 else 0)
    dy = torch.empty_like(y)
    z_in, stride = _last_input(w, saved, degree - 1)
    backward.mix_backward[(blocks,)](
        d_mixed,
        z_in,
        y,
        saved.z,
        index,
        valid,
        w.c_weight[-1],
        w.c_bias[-1],
        w.v_weight,
        p,
        d_p,
        dc,
        dy,
        rows.tokens,
        rows.length,
        IN_STRIDE=stride,
        **indexed,
        **whole,
    )
    count = degree + (degree - 1) * (taps + 1)
    partial = y.new_empty(blocks, count, dim, dtype=torch.float32)
    for i in range(degree - 1, 1, -1):
        z_in, stride = _last_input(w, saved, i)
        z_before, before_stride = _last_input(w, saved, i - 1)
        dc_before = torch.empty_like(dc)
        backward.step_backward[(blocks, triton.cdiv(dim, chunked["BK"]))](
            dc,
            d_p,
            z_in,
            z_before,
            y,
            valid,
            w.c_weight[i - 1],
            w.c_weight[i - 2],
            w.c_bias[i - 2],
            dc_before,
            dy,
            partial,
            rows.tokens,
            rows.length,
            STEP=i,
            IN_STRIDE=stride,
            BEFORE_STRIDE=before_stride,
            ROWS=count,
            ROW=degree + (i - 1) * (taps + 1),
            **flags,
            **chunked,
        )
        dc = dc_before
    tokens = y.new_empty(rows.tokens, dim)
    dx, d_pos = torch.empty_like(x), None if pos is None else torch.empty_like(pos)
    backward.project_backward[(blocks,)](
        dc,
        x,
        _or(pos, x),
        index,
        valid,
        y,
        w.c_weight[0],
        *w.four_maps()[0],
        _or(residual, x),
        dy,
        tokens,
        dx,
        _or(d_pos, dx),
        partial,
        rows.tokens,
        rows.length,
        ROWS=count,
        HAS_POS=pos is not None,
        HAS_RESIDUAL=residual is not None,
        **indexed,
        **whole,
    )
    sums = partial.sum(0)
    convolutions = sums[degree:].view(degree - 1, taps + 1, dim)
    return MixerGradients(
        x=dx,
        pos=d_pos,
        b_weight=(dy.T @ tokens).split(dim),
        b_bias=sums[:degree].unbind(),
        c_weight=convolutions[:, :taps].transpose(1, 2).unsqueeze(2).unbind(),
        c_bias=convolutions[:, taps].unbind(),
        v_weight=d_mixed.T @ p,
    )


def _or(tensor: Tensor | None, unused: Tensor) -> Tensor:
    """A pointer the kernel does not read, in place of no tensor."""
    return unused if tensor is None else tensor


def _hidden_chunk(ffn: LayerWeights) -> int:
    hidden, dim = ffn.w1.shape
    return block_sizes(dim, hidden)["hidden_chunk"]
