"""The pillar grid: the only home of ranges, cell sizes and map dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from padre3d.structures.constants import constants


@dataclass(frozen=True)
class PillarGrid:
    """A bird's-eye-view grid of pillars in the LiDAR frame.

    Args:
        range_m: ``(xmin, ymin, zmin, xmax, ymax, zmax)`` in metres; a pillar spans all of z.
        cell_m: ``(dx, dy)`` of a pillar in metres; it must divide the range.

    Raises:
        ValueError: if the range is empty or the cell size does not divide it.
    """

    range_m: tuple[float, float, float, float, float, float]
    cell_m: tuple[float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "range_m", tuple(float(v) for v in self.range_m))
        object.__setattr__(self, "cell_m", tuple(float(v) for v in self.cell_m))
        if len(self.range_m) != 6 or len(self.cell_m) != 2:
            raise ValueError(
                "PillarGrid expected 6 range values and 2 cell sizes, "
                f"got {len(self.range_m)} and {len(self.cell_m)}"
            )
        for axis, name in enumerate("xyz"):
            low, high = self.range_m[axis], self.range_m[axis + 3]
            if not low < high:
                raise ValueError(f"PillarGrid expected {name}min < {name}max, got {low} and {high}")
        for axis, name in enumerate("xy"):
            extent, cell = self.range_m[axis + 3] - self.range_m[axis], self.cell_m[axis]
            cells = extent / cell if cell > 0 else 0.0
            if not 0.5 <= cells < float("inf") or abs(cells - round(cells)) > 1e-4:
                raise ValueError(
                    f"PillarGrid expected a d{name} that divides the range "
                    f"{self.range_m[axis]}..{self.range_m[axis + 3]} m, got {self.cell_m[axis]} m"
                )

    @classmethod
    def of(cls, grid: PillarGrid | Mapping[str, Any]) -> PillarGrid:
        """A grid from a grid or from a config's ``dict(range_m=..., cell_m=...)``."""
        return grid if isinstance(grid, PillarGrid) else cls(**grid)

    @property
    def nx(self) -> int:
        """Number of cells along x."""
        return round((self.range_m[3] - self.range_m[0]) / self.cell_m[0])

    @property
    def ny(self) -> int:
        """Number of cells along y."""
        return round((self.range_m[4] - self.range_m[1]) / self.cell_m[1])

    @property
    def num_cells(self) -> int:
        """Number of cells of the map; a cell's id is ``y * nx + x``."""
        return self.nx * self.ny

    @property
    def height_m(self) -> float:
        """Height of a pillar in metres."""
        return self.range_m[5] - self.range_m[2]

    def coarser(self, stride: int) -> PillarGrid:
        """The same range with cells ``stride`` times as large."""
        return PillarGrid(self.range_m, (self.cell_m[0] * stride, self.cell_m[1] * stride))

    def cells_of(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """Locate points.

        Args:
            xyz: (N, >= 3) points in metres.

        Returns:
            ``(N, 2)`` int64 cells ``[y, x]`` and an ``(N,)`` mask of the finite points inside the
            range; cells of points outside the range are clamped into the map.
        """
        low = constants(self.range_m[:2], xyz)
        cell = constants(self.cell_m, xyz)
        xy = torch.floor((xyz[:, :2] - low) / cell)
        limit = constants((self.nx, self.ny), xyz)
        z = xyz[:, 2]
        # A NaN fails every comparison, so it is outside without a test of its own.
        inside = ((xy >= 0) & (xy < limit)).all(1) & (z >= self.range_m[2]) & (z <= self.range_m[5])
        xy = torch.nan_to_num(xy).clamp_min(0).minimum(limit - 1).long()
        return xy.flip(1), inside

    def centres_m(self, cells: Tensor) -> Tensor:
        """Centres ``(N, 2)`` as ``[x, y]`` in metres of cells ``(N, 2)`` given as ``[y, x]``."""
        xy = cells.flip(1).to(torch.get_default_dtype())
        return (xy + 0.5) * constants(self.cell_m, xy) + constants(self.range_m[:2], xy)
