"""Points to occupied cells: which points count, in which pillar each lies, where the pillars are.

The numpy twin is padre3d/runtime/pillar_encoder.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from padre3d.checks import check_shape
from padre3d.structures.grid import PillarGrid
from padre3d.structures.points import point_limits


class Voxels(NamedTuple):
    """Points sorted into pillars.

    Attributes:
        points: (P, C) float32, the usable points inside the range.
        rows: (P,) int64 pillar row of each point.
        coords: (N, 3) int64 ``[batch, y, x]`` of the occupied pillars, ascending.
    """

    points: Tensor
    rows: Tensor
    coords: Tensor


def voxelise(points: Sequence[Tensor], grid: PillarGrid, columns: int) -> Voxels:
    """Sort a batch of clouds into the cells of a grid.

    Args:
        points: one (P_b, columns) tensor per sample; may be empty.
        grid: range and cells.
        columns: of a point.

    Raises:
        ValueError: without a sample, or on a wrong number of columns.
    """
    flat, cell_ids = in_range(points, grid, columns)
    cells, rows = occupied_cells(cell_ids, len(points) * grid.num_cells)
    yx = cells % grid.num_cells
    sample = torch.div(cells, grid.num_cells, rounding_mode="floor")
    return Voxels(flat, rows, torch.stack([sample, yx // grid.nx, yx % grid.nx], 1))


def in_range(points: Sequence[Tensor], grid: PillarGrid, columns: int) -> tuple[Tensor, Tensor]:
    """All usable points (P, columns) in float32, and their cells counted over samples (P,)."""
    if len(points) == 0:
        raise ValueError("points: expected at least one sample, got an empty list")
    for b, cloud in enumerate(points):
        check_shape(cloud, f"P {columns}", name=f"points[{b}]")
    flat = torch.cat(list(points)).float()
    start = torch.cat(
        [
            torch.full((len(cloud),), b * grid.num_cells, device=flat.device)
            for b, cloud in enumerate(points)
        ]
    )
    cells, inside = grid.cells_of(flat)
    # False for NaN and infinity too. Numbers, not a tensor of them: nothing to copy to the device.
    for column, limit in enumerate(point_limits(columns)):
        inside &= flat[:, column].abs() <= limit
    cell_ids = start + cells[:, 0] * grid.nx + cells[:, 1]
    # A mask as an index would count its rows anew for each tensor.
    rows = inside.nonzero().squeeze(1)
    return flat.index_select(0, rows), cell_ids.index_select(0, rows)


def occupied_cells(cell_ids: Tensor, num_cells: int) -> tuple[Tensor, Tensor]:
    """Number the occupied cells in ascending order.

    Equal to ``torch.unique(cell_ids, return_inverse=True)``, by marking the cells and counting
    the marks before each one instead of sorting.

    Args:
        cell_ids: (P,) int64 cell of each point, in ``[0, num_cells)``.
        num_cells: number of cells there are.

    Returns:
        ``cells`` (N,) ascending ids of the occupied cells and ``rows`` (P,): the position of each
        point's cell in ``cells``.
    """
    marks = torch.zeros(num_cells, dtype=torch.bool, device=cell_ids.device)
    marks.index_fill_(0, cell_ids, True)
    rank = marks.cumsum(0) - 1
    return marks.nonzero().squeeze(1), rank.index_select(0, cell_ids)
