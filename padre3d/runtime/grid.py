"""The pillar grid in numpy, equal to :class:`padre3d.structures.grid.PillarGrid`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from padre3d.structures.points import COORDINATE_LIMIT_M

MAX_CELLS = 1 << 24


@dataclass(frozen=True)
class Grid:
    """Range and cell size of a pillar grid.

    Attributes:
        range_m: ``(xmin, ymin, zmin, xmax, ymax, zmax)`` in metres.
        cell_m: ``(dx, dy)`` in metres.

    Raises:
        ValueError: if the range is empty or beyond what a point may have, the cells do not divide
            it, or there are more than :data:`MAX_CELLS`.
    """

    range_m: tuple[float, ...]
    cell_m: tuple[float, ...]

    def __post_init__(self) -> None:
        if (len(self.range_m), len(self.cell_m)) != (6, 2):
            raise ValueError(
                "grid: expected 6 range values and 2 cell sizes, got "
                f"{len(self.range_m)} and {len(self.cell_m)}"
            )
        low, high = self.range_m[:3], self.range_m[3:]
        if not all(abs(v) <= COORDINATE_LIMIT_M for v in self.range_m):
            raise ValueError(f"grid: expected a range within 1e5 m, got {self.range_m}")
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"grid: expected minima below maxima, got {self.range_m}")
        if not all(0 < cell < math.inf for cell in self.cell_m):
            raise ValueError(f"grid: expected cells above 0 m, got {self.cell_m}")
        counts = [(b - a) / c for a, b, c in zip(low, high, self.cell_m, strict=False)]
        if min(counts) < 1 - 1e-4 or counts[0] * counts[1] > MAX_CELLS:
            raise ValueError(
                f"grid: expected 1 to {MAX_CELLS} cells, got {counts[0]:g} x {counts[1]:g}"
            )
        if any(abs(count - round(count)) > 1e-4 for count in counts):
            raise ValueError(f"grid: expected cells that divide the range, got {self.cell_m} m")

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along y and x."""
        low, high = self.range_m[:2], self.range_m[3:5]
        nx, ny = (round((b - a) / cell) for a, b, cell in zip(low, high, self.cell_m, strict=True))
        return ny, nx

    @property
    def num_cells(self) -> int:
        """Cells of the map; a cell's id is ``y * nx + x``."""
        return self.shape[0] * self.shape[1]

    def centres_m(self, cells: np.ndarray) -> np.ndarray:
        """Centres (N, 2) ``[x, y]`` of cell ids ``y * nx + x``, float32."""
        nx = self.shape[1]
        xy = np.stack([cells % nx, cells // nx], 1).astype(np.float32)
        low, cell = (np.asarray(v, np.float32) for v in (self.range_m[:2], self.cell_m))
        return (xy + np.float32(0.5)) * cell + low

    def nearest(self, cells: np.ndarray, count: int) -> np.ndarray:
        """Rows (count,), ascending, of the cell ids (N,) nearest to the sensor; at most N."""
        distance = np.square(self.centres_m(cells)).sum(1)
        return np.sort(np.argsort(distance, kind="stable")[:count])
