"""The fused operators: what they accept, and their gradients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from padre3d.checks import check_shape
from padre3d.ops.padre.maps import Pointwise, TokenConv1d
from padre3d.ops.padre.triton import launch
from padre3d.ops.padre.triton.records import LayerWeights, MixerWeights, Rows, Saved
from padre3d.ops.padre.weights import PadreWeights
from padre3d.structures.tokens import TokenPositions

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MAX_DEGREE = 4
MAX_DIM = 256


def padre(x: Tensor, weights: PadreWeights, mask: Tensor | None = None) -> Tensor:
    """PADRe in d launches; arguments as :func:`padre3d.ops.padre.padre`, masked outputs are zero.

    Raises:
        ValueError: on a structure other than ``sequence``, or tensors no kernel takes.
    """
    w = _mixer_weights(weights, x.shape[-1])
    _check_tensors(x, w)
    tokens = x.flatten(0, 1).contiguous()
    rows = Rows(None, _flat_mask(mask), x.shape[1], len(tokens))
    return _apply(tokens, None, rows, w, None).view(x.shape)


def encoder_layer(
    x: Tensor,
    positions: TokenPositions | None,
    index: Tensor,
    valid: Tensor | None,
    weights: PadreWeights,
    linears: Sequence[nn.Linear],
    norms: Sequence[nn.LayerNorm],
) -> Tensor:
    """A whole encoder layer (padre3d/backbone/encoder.py) in d launches, d + 1 kernels backward.

    Args:
        x: pillar features (N, D).
        positions: the pillars' position embeddings, or None.
        index: (G, L) pillar of each token; every pillar is at exactly one valid token.
        valid: (G, L) bool, or None where every token is valid.
        weights: of the mixer.
        linears: the two of the feed-forward network, with GELU between them.
        norms: after the mixer, after the feed-forward network, after the layer.

    Returns:
        (N, D), in the type of x; in single precision under autocast, as LayerNorm's output.

    Raises:
        ValueError: on a structure other than ``sequence``, or tensors no kernel takes.
    """
    dim = check_shape(x, "N D", name="encoder_layer x")["D"]
    g, length = index.shape
    if valid is None and g * length != len(x):
        raise ValueError(
            f"impl='triton': expected one token per pillar ({len(x)}), got {g * length} tokens "
            "without a mask: the fused layer needs tokens='sequence'"
        )
    w = _mixer_weights(weights, dim)
    _check_tensors(x, w)
    layer = _layer_weights(linears, norms)
    if torch.is_autocast_enabled(x.device.type):
        x = x.float()
    pos, window_index = _positions(positions, len(x), dim)
    rows = Rows(index.flatten(), _flat_mask(valid), length, g * length, window_index)
    return _apply(x.contiguous(), pos, rows, w, layer)


def _positions(
    positions: TokenPositions | None, pillars: int, dim: int
) -> tuple[Tensor | None, Tensor | None]:
    """The table of embeddings and its row for each pillar, or with gradients a row per pillar."""
    if positions is None:
        return None, None
    table, window_index = positions.table, positions.window_index
    if window_index is not None and torch.is_grad_enabled():
        table, window_index = F.embedding(window_index, table), None
    rows = "*" if window_index is not None else str(pillars)
    check_shape(table, f"{rows} {dim}", name="encoder_layer positions")
    return table.contiguous(), window_index


def _apply(
    x: Tensor, pos: Tensor | None, rows: Rows, w: MixerWeights, layer: LayerWeights | None
) -> Tensor:
    """Through autograd where a gradient is wanted, else straight to the kernels."""
    device = x.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else w.v_weight.dtype
    tensors = _flatten(w, layer)
    wanted = any(t is not None and t.requires_grad for t in (x, pos, *tensors))
    with torch.cuda.device_of(x):  # Triton launches on the current device
        if not (wanted and torch.is_grad_enabled()):
            return _forward(x, pos, rows, w, layer, dtype, save=False)[0]
        eps = layer.eps if layer else None
        return _Fused.apply(x, pos, rows, dtype, eps, w.degree, *tensors)


def _forward(
    x: Tensor,
    pos: Tensor | None,
    rows: Rows,
    w: MixerWeights,
    layer: LayerWeights | None,
    dtype: torch.dtype,
    save: bool,
) -> tuple[Tensor, Saved]:
    saved = launch.to_last_convolution(x, pos, rows, w, dtype)
    if layer is None:
        return launch.mix(rows, w, saved), saved
    return launch.finish(x, rows, w, layer, saved, save)


class _Fused(torch.autograd.Function):
    """The mixer, or with ``eps`` the encoder layer."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pos: Tensor | None,
        rows: Rows,
        dtype: torch.dtype,
        eps: tuple[float, float, float] | None,
        degree: int,
        *tensors: Tensor,
    ) -> Tensor:
        """Pillar features (N, D) or token rows; ``tensors`` are the weights, flat."""
        w, layer = _unflatten(tensors, degree, eps)
        out, saved = _forward(x, pos, rows, w, layer, dtype, save=True)
        ctx.save_for_backward(
            x, pos, rows.index, rows.valid, saved.y, saved.z, saved.sum1, saved.sum2, *tensors
        )
        ctx.length, ctx.tokens, ctx.eps, ctx.degree = rows.length, rows.tokens, eps, degree
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, of pos and of every weight, in the order of ``forward``."""
        x, pos, index, valid, *others = ctx.saved_tensors
        saved, tensors = Saved(*others[:4]), others[4:]
        w, layer = _unflatten(tensors, ctx.degree, ctx.eps)
        rows = Rows(index, valid, ctx.length, ctx.tokens)
        d_out = d_out.contiguous()
        residual: Tensor | None = None
        layer_gradients: list[Tensor] = []
        if layer is not None:
            residual, d_out, layer_gradients, v_bias = launch.finish_backward(
                d_out, x, w, layer, saved
            )
        else:
            if valid is not None:
                d_out = d_out * valid.unsqueeze(1).to(d_out.dtype)
            v_bias = d_out.sum(0, dtype=torch.float32)
        g = launch.mixer_backward(d_out, residual, x, pos, rows, w, saved)
        gradients = [
            *g.b_weight,
            *g.b_bias,
            *g.c_weight,
            *g.c_bias,
            g.v_weight,
            v_bias,
            *layer_gradients,
        ]
        typed = [d.to(t.dtype) for d, t in zip(gradients, tensors, strict=True)]
        return (g.x, g.pos, None, None, None, None, *typed)


def _flatten(w: MixerWeights, layer: LayerWeights | None) -> list[Tensor]:
    tensors = [*w.b_weight, *w.b_bias, *w.c_weight, *w.c_bias, w.v_weight, w.v_bias]
    if layer is not None:
        tensors += [t for t in vars(layer).values() if isinstance(t, Tensor)]
    return [t.contiguous() for t in tensors]


def _unflatten(
    tensors: Sequence[Tensor], degree: int, eps: tuple[float, float, float] | None
) -> tuple[MixerWeights, LayerWeights | None]:
    ends = (degree, 2 * degree, 3 * degree - 1, 4 * degree - 2)
    b_weight, b_bias, c_weight, c_bias = (
        tuple(tensors[start:end]) for start, end in zip((0, *ends), ends, strict=False)
    )
    v_weight, v_bias, *rest = tensors[ends[-1] :]
    w = MixerWeights(b_weight, b_bias, c_weight, c_bias, v_weight, v_bias)
    if eps is None:
        return w, None
    names = (field.name for field in fields(LayerWeights))
    of_layer: dict[str, Any] = dict(zip(names, [*rest, eps], strict=True))
    return w, LayerWeights(**of_layer)


def _mixer_weights(weights: PadreWeights, dim: int) -> MixerWeights:
    """The weights of the ``sequence`` structure.

    Raises:
        ValueError: on any other structure, naming the first thing that differs.
    """
    w, degree = weights, weights.degree
    maps = (*w.b, w.v)
    wrong = {
        f"degree {degree}": not 2 <= degree <= MAX_DEGREE,
        f"{dim} channels": dim > MAX_DIM,
        "token maps A": any(a is not None for a in w.a),
        "channel maps D": any(d is not None for d in w.d),
        "a token map U": w.u is not None,
        "W or L": w.w is not None or w.l is not None,
        f"terms {w.terms}": w.terms != tuple(range(2, degree + 1)),
        f"basis {w.basis}": w.basis != "monomial",
        f"normalise {w.normalise}": w.normalise is not None,
        "channel maps B, V that are not dense D x D with a bias": not all(
            isinstance(m, Pointwise) and m.bias is not None and m.weight.shape == (dim, dim)
            for m in maps
        ),
        "token maps C but centred depthwise convolutions of one width with a bias": not all(
            type(c) is TokenConv1d and c.bias is not None and c.groups == dim for c in w.c
        )
        or len({c.weight.shape for c in w.c}) != 1,  # type: ignore[union-attr]
    }
    found = [name for name, is_wrong in wrong.items() if is_wrong]
    if found:
        raise ValueError(
            f"impl='triton': expected the structure preset='sequence' of degree 2 to {MAX_DEGREE} "
            f"with at most {MAX_DIM} channels, got {found[0]}"
        )
    return MixerWeights(
        b_weight=tuple(m.weight for m in w.b),  # type: ignore[union-attr]
        b_bias=tuple(m.bias for m in w.b),  # type: ignore[union-attr, misc]
        c_weight=tuple(c.weight for c in w.c),  # type: ignore[union-attr]
        c_bias=tuple(c.bias for c in w.c),  # type: ignore[union-attr, misc]
        v_weight=w.v.weight,  # type: ignore[union-attr]
        v_bias=w.v.bias,  # type: ignore[union-attr, arg-type]
    )


def _layer_weights(linears: Sequence[nn.Linear], norms: Sequence[nn.LayerNorm]) -> LayerWeights:
    first, second = linears
    n1, n2, n3 = norms
    return LayerWeights(
        n1.weight,
        n1.bias,
        first.weight,
        first.bias,
        second.weight,
        second.bias,
        n2.weight,
        n2.bias,
        n3.weight,
        n3.bias,
        eps=(n1.eps, n2.eps, n3.eps),
    )


def _flat_mask(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.flatten().contiguous().view(torch.uint8)


def _check_tensors(x: Tensor, w: MixerWeights) -> None:
    """Raise where no kernel can run."""
    if x.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"impl='triton': expected tensors on a CUDA device, got {x.device} "
            "(TRITON_INTERPRET=1 runs the kernels in Triton's interpreter)"
        )
    for name, dtype in (("input", x.dtype), ("weight", w.v_weight.dtype)):
        if dtype not in DTYPES:
            raise ValueError(f"impl='triton': expected {DTYPES}, got an {name} of {dtype}")
