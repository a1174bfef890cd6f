"""Pillars in several orders at once, by counting instead of sorting.

The rank of an occupied cell in an order is the number of occupied cells before it: read the
occupancy of the grid along the order's permutation and take the prefix sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from padre3d.structures.tokens import TokenLayout


def occupancy(coords: Tensor, batch_size: int, ny: int, nx: int) -> Tensor:
    """(batch_size, ny * nx) int32: 1 where a cell holds a pillar of coords (N, 3)."""
    marks = torch.zeros(batch_size * ny * nx, dtype=torch.int32, device=coords.device)
    marks.index_fill_(0, (coords[:, 0] * ny + coords[:, 1]) * nx + coords[:, 2], 1)
    return marks.view(batch_size, ny * nx)


class SerialOrders(nn.Module):
    """Sequence form of the tokens: one sequence per sample and order.

    Args:
        ny: cells of the grid along y.
        nx: cells of the grid along x.
        permutations: K orders, each all ``ny * nx`` cell ids, as of :func:`permutation`.
    """

    cells: Tensor
    rank_of_cell: Tensor

    def __init__(self, ny: int, nx: int, permutations: Sequence[Tensor]) -> None:
        super().__init__()
        self.ny, self.nx = ny, nx
        cells = torch.stack(list(permutations))
        rank_of_cell = torch.empty_like(cells)
        rank_of_cell.scatter_(1, cells, torch.arange(ny * nx).expand_as(cells))
        # Constants of the configuration: they move with the module but are not weights.
        self.register_buffer("cells", cells, persistent=False)
        self.register_buffer("rank_of_cell", rank_of_cell, persistent=False)

    def prefix_sums(self, coords: Tensor, batch_size: int) -> Tensor:
        """(B, K, ny * nx) int32: occupied cells up to and including each rank of each order."""
        marks = occupancy(coords, batch_size, self.ny, self.nx)
        return marks[:, self.cells].cumsum(-1, dtype=torch.int32)

    def ranks_of(self, coords: Tensor) -> Tensor:
        """(K, N): rank of each pillar's cell in each order."""
        return self.rank_of_cell[:, coords[:, 1] * self.nx + coords[:, 2]]

    def forward(self, coords: Tensor, batch_size: int) -> list[TokenLayout]:
        """Lay out the pillars in all K orders.

        One sample needs no padding, and then nothing is copied to the host; for more samples the
        length of the longest one is read once.

        Args:
            coords: (N, 3) pillar coordinates ``[batch, y, x]``.
            batch_size: number of samples.

        Returns:
            K layouts with index (B, L), L the pillars of the fullest sample.
        """
        sums = self.prefix_sums(coords, batch_size)
        sample = coords[:, 0]
        rank = torch.stack([sums[sample, k, rank] for k, rank in enumerate(self.ranks_of(coords))])
        number = torch.arange(coords.shape[0], device=coords.device)
        if batch_size == 1:
            length, valid = coords.shape[0], None
        else:
            counts = sums[:, 0, -1]
            length = int(counts.max())
            valid = torch.arange(length, device=coords.device) < counts.unsqueeze(1)
        slots = sample * length + rank.long() - 1
        index = number.new_zeros((slots.shape[0], batch_size * length))
        index.scatter_(1, slots, number.expand_as(slots))
        index = index.view(slots.shape[0], batch_size, length)
        return [TokenLayout(i, valid, s) for i, s in zip(index, slots, strict=True)]
