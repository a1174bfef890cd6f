"""Tokens that are the occupied cells of a batch of maps: where each lies, and its neighbours.

The geometry of the token layout "grid". Row n of the tokens is pillar n, so there is no order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class GridIndex:
    """Cells of the tokens of a batch; each sample has its own (ny, nx) map.

    A token that no cell of ``cell_to_pillar`` refers to is padding: no other token sees it, and
    what it gets is arbitrary.

    Attributes:
        cells: (N,) cell id ``(sample * ny + y) * nx + x`` of each token; padding has any.
        cell_to_pillar: (B, ny, nx) 1 + the row of the cell's token, 0 for an empty cell.
    """

    cells: Tensor
    cell_to_pillar: Tensor
    _neighbours: dict[tuple[Pair, int], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _blocks: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, coords: Tensor, batch_size: int, ny: int, nx: int) -> GridIndex:
        """The index of pillars (N, 3) ``[sample, y, x]`` of ``batch_size`` samples."""
        rows = cell_to_pillar_map(coords, batch_size, ny, nx)
        return cls(cell_ids(coords, ny, nx), rows)

    def neighbours(self, kernel: Pair, dilation: int = 1) -> Tensor:
        """The tokens under each tap of a kernel, made once and kept for the other layers.

        Args:
            kernel: odd height and width in taps.
            dilation: cells between two taps.

        Returns:
            (height * width, N) int32: tap by tap, so that a tap is contiguous, 1 + the row of the
            token that lies under the tap when the kernel's centre lies on token n; 0 for none.
            Padding has no neighbours, so that neighbourhood is mutual.
        """
        key = (kernel, dilation)
        if key not in self._neighbours:
            self._neighbours[key] = self._find_neighbours(kernel, dilation)
        return self._neighbours[key]

    def blocks(self, side: int) -> Tensor:
        """The block of ``side`` x ``side`` cells of each token (N,), made once.

        Numbers count over the samples' blocks, row by row, in the order of :meth:`block_shape`.
        """
        if side not in self._blocks:
            _, ny, nx = self.cell_to_pillar.shape
            _, rows, columns = self.block_shape(side)
            sample, cell = self.cells // (ny * nx), self.cells % (ny * nx)
            row, column = cell // nx // side, cell % nx // side
            self._blocks[side] = (sample * rows + row) * columns + column
        return self._blocks[side]

    def block_shape(self, side: int) -> torch.Size:
        """(B, rows, columns) of the blocks; the last ones may reach beyond the map."""
        samples, ny, nx = self.cell_to_pillar.shape
        return torch.Size((samples, -(-ny // side), -(-nx // side)))

    def without_masked(self, mask: Tensor) -> GridIndex:
        """The index in which the tokens that a mask (N,) marks False are padding."""
        keep = F.pad(mask, (1, 0)).to(self.cell_to_pillar.dtype)
        return GridIndex(self.cells, self.cell_to_pillar * keep[self.cell_to_pillar])

    @cached_property
    def padding(self) -> Tensor:
        """(N,) bool, True for tokens that no cell of the map refers to."""
        row = torch.arange(1, len(self.cells) + 1, device=self.cells.device)
        return self.cell_to_pillar.flatten().index_select(0, self.cells) != row

    def _find_neighbours(self, kernel: Pair, dilation: int) -> Tensor:
        _, ny, nx = self.cell_to_pillar.shape
        (height, width), device = kernel, self.cells.device
        dy, dx = height // 2 * dilation, width // 2 * dilation
        # With an empty margin around each map no tap falls out of it, or into the next row.
        padded = F.pad(self.cell_to_pillar.int(), (dx, dx, dy, dy))
        rows, columns = padded.shape[1:]
        sample, cell = self.cells // (ny * nx), self.cells % (ny * nx)
        corner = (sample * rows + cell // nx) * columns + cell % nx
        down = torch.arange(height, device=device) * (dilation * columns)
        tap = (down[:, None] + torch.arange(width, device=device) * dilation).flatten()
        found = padded.flatten().index_select(0, (tap[:, None] + corner).flatten())
        found = found.view(len(tap), len(corner))
        return found.masked_fill_(self.padding, 0)


def cell_ids(coords: Tensor, ny: int, nx: int) -> Tensor:
    """Cell ids (N,) in a batch of maps of coordinates (N, 3) ``[sample, y, x]``."""
    return (coords[:, 0] * ny + coords[:, 1]) * nx + coords[:, 2]


def cell_to_pillar_map(coords: Tensor, batch_size: int, ny: int, nx: int) -> Tensor:
    """For each cell, 1 + the row of its pillar, or 0 without one: (B, ny, nx) int64."""
    rows = torch.zeros(batch_size * ny * nx, dtype=torch.long, device=coords.device)
    rows[cell_ids(coords, ny, nx)] = torch.arange(1, len(coords) + 1, device=coords.device)
    return rows.view(batch_size, ny, nx)
