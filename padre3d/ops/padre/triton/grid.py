"""The depthwise convolution over the occupied cells of a grid, straight from the index map.

``out[n] = sum_t w[t] * x[map[cell(n) + offset(t)] - 1]``, see padre3d/ops/padre/grid_conv.py. A
program takes a block of tokens and of channels, looks each tap's cell up in the map and reads the
token there: no table of neighbours, no dense map of features. Sums are in single precision and
nothing is atomic, so results repeat bit by bit.
"""

# mypy: disable-error-code="no-untyped-def,misc"
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from padre3d.ops.padre.triton.parts import load_row, load_tile, store_tile
from padre3d.structures.grid_index import GridIndex

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
TOKENS, CHANNELS = 32, 64
# Tokens whose share of the taps' gradient one program sums up.
SHARE = 1024


@triton.jit
def _rows_under(tap, sample, y, x, keep, index, NY, NX, HEIGHT, WIDTH, DILATION):
    """Rows of the tokens under one tap, and which there are."""
    row = y + (tap // WIDTH - HEIGHT // 2) * DILATION
    column = x + (tap % WIDTH - WIDTH // 2) * DILATION
    keep = keep & (row >= 0) & (row < NY) & (column >= 0) & (column < NX)
    found = tl.load(index + (sample * NY + row) * NX + column, mask=keep, other=0).to(tl.int64)
    return found - 1, found > 0


@triton.jit
def _cells_of(n, N, cells, index, NY, NX):
    """Sample, y and x of the tokens n, and which of them are no padding."""
    keep = n < N
    cell = tl.load(cells + n, mask=keep, other=0).to(tl.int64)
    keep = keep & (tl.load(index + cell, mask=keep, other=0) == n + 1)
    return cell // (NY * NX), cell // NX % NY, cell % NX, keep


@triton.jit(do_not_specialize=["N", "NY", "NX"])
def convolve_kernel(
    x_ptr,
    taps,
    cells,
    index,
    out,
    N,
    NY,
    NX,
    D: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DILATION: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
):
    """TRANSPOSED reads the taps from the other side: the gradient with respect to the input."""
    n = tl.program_id(0) * BT + tl.arange(0, BT)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    sample, y, x, keep = _cells_of(n, N, cells, index, NY, NX)
    total = tl.zeros([BT, BD], tl.float32)
    for tap in range(HEIGHT * WIDTH):
        rows, there = _rows_under(tap, sample, y, x, keep, index, NY, NX, HEIGHT, WIDTH, DILATION)
        of_tap = HEIGHT * WIDTH - 1 - tap if TRANSPOSED else tap
        w = load_row(taps + of_tap * D, d, d < D)
        total += load_tile(x_ptr, rows, d, D, there, d < D) * w[None, :]
    store_tile(out, total, n, d, D, n < N, d < D)


@triton.jit(do_not_specialize=["N", "NY", "NX"])
def taps_gradient_kernel(
    x_ptr,
    gradient,
    cells,
    index,
    out,
    N,
    NY,
    NX,
    D: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DILATION: tl.constexpr,
    SHARE: tl.constexpr,
    BT: tl.constexpr,
    BD: tl.constexpr,
):
    """The part of one share of the tokens in the gradient of one tap: out (shares, taps, D)."""
    share, tap = tl.program_id(0), tl.program_id(1)
    d = tl.program_id(2) * BD + tl.arange(0, BD)
    total = tl.zeros([BT, BD], tl.float32)
    for start in range(0, tl.minimum(SHARE, N - share * SHARE), BT):
        n = share * SHARE + start + tl.arange(0, BT)
        sample, y, x, keep = _cells_of(n, N, cells, index, NY, NX)
        rows, there = _rows_under(tap, sample, y, x, keep, index, NY, NX, HEIGHT, WIDTH, DILATION)
        g = load_tile(gradient, n, d, D, there, d < D)
        total += load_tile(x_ptr, rows, d, D, there, d < D) * g
    tl.store(out + (share * HEIGHT * WIDTH + tap) * D + d, tl.sum(total, 0), mask=d < D)


def grid_convolution(x: Tensor, weight: Tensor, index: GridIndex, dilation: int) -> Tensor:
    """Tokens (N, D) -> (N, D) with weights (D, 1, height, width).

    Raises:
        ValueError: for tensors no kernel takes.
    """
    if x.dtype not in DTYPES:
        raise ValueError(f"grid_impl='triton': expected one of {DTYPES}, got {x.dtype}")
    return _GridConvolution.apply(x.contiguous(), weight, index, dilation)


class _GridConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, index: GridIndex, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.index, ctx.dilation = index, dilation
        return _convolve(x, weight, index, dilation, transposed=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient, of_x, of_weight = gradient.contiguous(), None, None
        if ctx.needs_input_grad[0]:
            of_x = _convolve(gradient, weight, ctx.index, ctx.dilation, transposed=True)
        if ctx.needs_input_grad[1]:
            of_weight = _taps_gradient(x, gradient, weight, ctx.index, ctx.dilation)
        return of_x, of_weight, None, None


def _convolve(
    x: Tensor, weight: Tensor, index: GridIndex, dilation: int, transposed: bool
) -> Tensor:
    (count, dim), (height, width) = x.shape, weight.shape[2:]
    _, ny, nx = index.cell_to_pillar.shape
    out = torch.empty_like(x)
    taps = weight.flatten(1).t().contiguous()
    blocks = triton.cdiv(count, TOKENS), triton.cdiv(dim, CHANNELS)
    sizes = (count, ny, nx, dim, height, width, dilation, transposed, TOKENS, CHANNELS)
    with torch.cuda.device_of(x):  # Triton launches on the current device
        if count:
            rows = index.cell_to_pillar.contiguous()
            convolve_kernel[blocks](x, taps, index.cells, rows, out, *sizes)
    return out


def _taps_gradient(
    x: Tensor, gradient: Tensor, weight: Tensor, index: GridIndex, dilation: int
) -> Tensor:
    (count, dim), (height, width) = x.shape, weight.shape[2:]
    _, ny, nx = index.cell_to_pillar.shape
    shares = triton.cdiv(count, SHARE)
    out = torch.zeros(shares, height * width, dim, device=x.device)
    blocks = shares, height * width, triton.cdiv(dim, CHANNELS)
    sizes = (count, ny, nx, dim, height, width, dilation, SHARE, TOKENS, CHANNELS)
    with torch.cuda.device_of(x):
        if count:
            rows = index.cell_to_pillar.contiguous()
            taps_gradient_kernel[blocks](x, gradient, index.cells, rows, out, *sizes)
    return out.sum(0).t().reshape(weight.shape).to(weight.dtype)
