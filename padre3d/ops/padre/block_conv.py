"""Convolutions over the means of blocks of cells: a token map of low rank and long reach.

``out[n] = sum_t weight[t] * mean(block under tap t when the kernel's centre is n's block)``. With M
blocks in reach of N tokens the matrix is broadcast (N x M) times banded (M x M) times mean (M x N):
rank M at most, and 2 N D + M k^2 D operations. A mean is over the block's tokens; a block without
one counts as zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.structures.grid_index import GridIndex


def block_convolution(x: Tensor, weight: Tensor, index: GridIndex, side: int) -> Tensor:
    """Tokens (N, D) -> (N, D).

    On a CPU the means are sums over the tokens. On a GPU, where such sums depend on the order of
    the threads, and in an exported graph, they are averages of the zero-filled maps.

    Args:
        x: tokens.
        weight: (D, 1, height, width), odd, over blocks.
        index: cells of the tokens.
        side: cells of a block in both directions; blocks start at cell (0, 0).
    """
    if x.is_cpu and not torch.compiler.is_compiling():
        means = _means_of_tokens(x, index, side)
    else:
        means = _means_of_maps(x, index, side)
    padding = [k // 2 for k in weight.shape[2:]]
    out = F.conv2d(means, weight, None, 1, padding, groups=len(weight))
    return out.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index.blocks(side))


def _means_of_tokens(x: Tensor, index: GridIndex, side: int) -> Tensor:
    """(B, D, rows, columns) means of the blocks, zero for an empty one."""
    block, shape = index.blocks(side), index.block_shape(side)
    wide = torch.where(index.padding.unsqueeze(1), 0.0, x.float() if x.dtype.itemsize < 4 else x)
    sums = wide.new_zeros(shape.numel(), x.shape[1]).index_add(0, block, wide)
    present = (~index.padding).to(wide.dtype)
    counts = wide.new_zeros(shape.numel()).index_add(0, block, present)
    means = sums / counts.clamp_min(1).unsqueeze(1)
    return means.to(x.dtype).view(*shape, -1).permute(0, 3, 1, 2)


def _means_of_maps(x: Tensor, index: GridIndex, side: int) -> Tensor:
    """The same by a convolution of the maps, of operators that every runtime has."""
    _, ny, nx = index.cell_to_pillar.shape
    # A column of ones: its mean is the share of a block's cells that have a token.
    rows = F.pad(F.pad(x, (0, 1), value=1.0), (0, 0, 1, 0))
    maps = F.embedding(index.cell_to_pillar, rows).permute(0, 3, 1, 2)
    maps = F.pad(maps, (0, -nx % side, 0, -ny % side))
    mean = maps.new_full((maps.shape[1], 1, side, side), 1 / side**2)
    means = F.conv2d(maps, mean, None, side, groups=len(mean))
    share = means[:, -1:]
    return means[:, :-1] / (share + (share < 0.5 / side**2).to(share.dtype))
