"""Depthwise convolutions over the occupied cells of a grid: one result, several ways to compute it.

``out[n, d] = sum_t weight[d, t] * x[m(n, t), d]`` over the taps t under which a token m(n, t) lies
when the kernel's centre lies on token n: a sub-manifold convolution. Empty cells count as zero and
get no result. For N tokens of D channels on S cells, T taps and a share p of taps on a token:

| implementation | computes | multiply-accumulates | reads |
|---|---|---|---|
| map | a dense convolution of the zero-filled maps, then a gather | S T D | S D, then N D |
| neighbours | per tap, a gather and one product | N T D, a share p not zero | N T D |
| triton | the same in one kernel, over the map of indices (triton/grid.py) | p N T D | p N T D |

A dense 11 x 11 on 360 x 360 x 128 is 2.0 G multiply-accumulates a layer, over the neighbours of
20,000 pillars it is 0.3 G. On a CPU the neighbours win in training by far, because the gradients of
a dense depthwise convolution are slow there (docs/method.md has the times).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from padre3d.structures.grid_index import GridIndex

IMPLEMENTATIONS = ("auto", "map", "neighbours", "triton")
# Rows whose gathered neighbours and sums stay in a core's second-level cache.
CHUNK_BYTES = 1 << 18


def grid_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    index: GridIndex,
    dilation: int = 1,
    impl: str = "auto",
) -> Tensor:
    """Tokens (N, D) -> (N, D).

    Args:
        x: tokens.
        weight: (D, 1, height, width), odd.
        bias: (D,) added to every token's result.
        index: cells of the tokens.
        dilation: cells between two taps.
        impl: "map", "neighbours", "triton", or "auto": the neighbours on a CPU, where they are the
            fastest, the map on a GPU, where nothing is measured yet, while a graph is exported or
            compiled, and inside torch.func and forward-mode differentiation, which the others do
            not know.

    Raises:
        ValueError: on an unknown implementation, or another than "map" under forward mode.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"grid_impl: expected one of {IMPLEMENTATIONS}, got {impl!r}")
    if impl == "auto":
        transformed = torch.compiler.is_compiling() or _in_functorch() or _has_tangent(x, weight)
        impl = "neighbours" if x.is_cpu and not transformed else "map"
    elif impl != "map" and _has_tangent(x, weight):
        raise ValueError(
            "grid_impl: expected 'map' or 'auto' under forward-mode differentiation (jvp, jacfwd, "
            f"hessian), got {impl!r}"
        )
    if impl == "map":
        return on_map(x, weight, bias, index, dilation)
    if impl == "triton":
        # needs Triton, which the core does without
        from padre3d.ops.padre.triton.grid import grid_convolution as fused

        out = fused(x, weight, index, dilation)
    else:
        height, width = weight.shape[2:]
        taps = weight.flatten(1).t()
        out = over_neighbours(x, taps, index.neighbours((height, width), dilation))
    return out if bias is None else out + bias.to(out.dtype)


def _in_functorch() -> bool:
    """Whether a transform of torch.func (jvp, hessian, vmap, ...) is at work; torch's own test."""
    return torch._C._are_functorch_transforms_active()


def _has_tangent(*tensors: Tensor) -> bool:
    """Whether forward-mode differentiation follows one of them."""
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def on_map(
    x: Tensor, weight: Tensor, bias: Tensor | None, index: GridIndex, dilation: int
) -> Tensor:
    """Gather the maps, convolve, gather the tokens back: operators that every runtime has."""
    maps = F.embedding(index.cell_to_pillar, F.pad(x, (0, 0, 1, 0))).permute(0, 3, 1, 2)
    padding = [k // 2 * dilation for k in weight.shape[2:]]
    out = F.conv2d(maps, weight, bias, 1, padding, dilation, groups=len(weight))
    return out.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index.cells)


@torch.library.custom_op("padre3d::over_neighbours", mutates_args=())
def over_neighbours(x: Tensor, taps: Tensor, neighbours: Tensor) -> Tensor:
    """Sum over the taps; an operator of its own, so that its cost can be counted.

    Sums in single precision at least, whatever x has.

    Args:
        x: (N, D) tokens.
        taps: (T, D) weights.
        neighbours: (T, N) int32 of :meth:`GridIndex.neighbours`.

    Returns:
        (N, D) in the precision of x.
    """
    rows, taps = _with_zero_row(x), _wide(taps).contiguous()
    out = torch.zeros_like(rows[1:])
    for start, stop, gathered in _chunks(rows):
        into = out[start:stop]
        for tap, found in zip(taps, neighbours[:, start:stop], strict=True):
            torch.index_select(rows, 0, found, out=gathered)
            into.addcmul_(gathered, tap)
    return out.to(x.dtype)


@torch.library.custom_op("padre3d::over_neighbours_backward", mutates_args=())
def over_neighbours_backward(
    gradient: Tensor, x: Tensor, taps: Tensor, neighbours: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`over_neighbours` with respect to x (N, D) and the taps (T, D).

    Neighbourhood is mutual: if m lies under tap t of n, n lies under the opposite tap of m. So both
    come from one gather of the gradients around each token.
    """
    rows, taps, tokens = _with_zero_row(gradient), _wide(taps).contiguous(), _wide(x)
    of_x, of_opposite = torch.zeros_like(rows[1:]), torch.zeros_like(taps)
    for start, stop, gathered in _chunks(rows):
        into, of_rows = of_x[start:stop], tokens[start:stop]
        found_under = neighbours[:, start:stop]
        for tap, total, found in zip(taps.flip(0), of_opposite, found_under, strict=True):
            torch.index_select(rows, 0, found, out=gathered)
            into.addcmul_(gathered, tap)
            total += gathered.mul_(of_rows).sum(0)
    return of_x.to(x.dtype), of_opposite.flip(0)


@register_flop_formula(torch.ops.padre3d.over_neighbours, get_raw=True)
def _flops(x: Tensor, taps: Tensor, neighbours: Tensor, *_: Any, **__: Any) -> int:
    """Two per channel and neighbour that is there, for torch's counter."""
    return 2 * x.shape[1] * int(neighbours.count_nonzero())


def _chunks(rows: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """``(start, stop, buffer)`` of chunks of the rows after the zero row; all at once on a GPU."""
    count, width = len(rows) - 1, rows.shape[1]
    size = max(1, CHUNK_BYTES // (width * rows.element_size())) if rows.is_cpu else max(1, count)
    buffer = rows.new_empty(min(size, count), width)
    for start in range(0, count, size):
        stop = min(count, start + size)
        yield start, stop, buffer[: stop - start]


def _with_zero_row(x: Tensor) -> Tensor:
    return F.pad(_wide(x), (0, 0, 1, 0))


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


@over_neighbours.register_fake
def _(x: Tensor, taps: Tensor, neighbours: Tensor) -> Tensor:
    return torch.empty_like(x)


@over_neighbours_backward.register_fake
def _(gradient: Tensor, x: Tensor, taps: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), _wide(taps).new_empty(taps.shape)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    x, taps, neighbours = ctx.saved_tensors
    of_x, of_taps = over_neighbours_backward(gradient.contiguous(), x, taps, neighbours)
    return of_x, of_taps.to(taps.dtype), None


over_neighbours.register_autograd(_backward, setup_context=_save)


def _save_backward(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]
) -> None:
    ctx.save_for_backward(*inputs)


def _backward_of_backward(
    ctx: Any, of_x: Tensor, of_taps: Tensor
) -> tuple[Tensor, Tensor, Tensor, None]:
    """With the trilinear T(g, x, w) = <g, conv(x, w)> the backward pass is (dT/dx, dT/dw).

    So what is differentiated here is T(g, of_x, w) + T(g, x, of_taps).
    """
    gradient, x, taps, neighbours = ctx.saved_tensors
    of_x, of_taps = of_x.contiguous(), of_taps.to(taps.dtype)
    of_gradient = over_neighbours(of_x, taps, neighbours) + over_neighbours(x, of_taps, neighbours)
    to_x, _ = over_neighbours_backward(gradient, x, of_taps, neighbours)
    _, to_taps = over_neighbours_backward(gradient, of_x, taps, neighbours)
    return of_gradient.to(gradient.dtype), to_x, to_taps.to(taps.dtype), None


over_neighbours_backward.register_autograd(_backward_of_backward, setup_context=_save_backward)
