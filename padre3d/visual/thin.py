"""Fewer points for a page: one in each cube, so that near ground goes and far objects stay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FIRST_CUBE_M, GROWTH = 0.05, 1.25


class Thinned(NamedTuple):
    """What stays.

    Attributes:
        rows: (Q,) ascending row numbers of the points kept.
        cube_m: side of the cubes, 0 where every point stayed.
    """

    rows: np.ndarray
    cube_m: float


def thin(xyz: np.ndarray, limit: int) -> Thinned:
    """The first point in every cube of the smallest grid that keeps at most ``limit`` points.

    Args:
        xyz: (P, 3) finite coordinates in m.
        limit: most points kept.

    Raises:
        ValueError: if ``limit`` is not positive.
    """
    if limit < 1:
        raise ValueError(f"limit: expected 1 or more points, got {limit}")
    rows, cube_m = np.arange(len(xyz)), 0.0
    low = xyz.min(axis=0) if len(xyz) else xyz
    while len(rows) > limit:
        cube_m = cube_m * GROWTH or FIRST_CUBE_M
        cells = np.floor((xyz.astype(np.float64) - low) / cube_m).astype(np.int64)
        ny, nz = cells[:, 1].max() + 1, cells[:, 2].max() + 1
        keys = (cells[:, 0] * ny + cells[:, 1]) * nz + cells[:, 2]
        rows = np.sort(np.unique(keys, return_index=True)[1])
    return Thinned(rows, cube_m)
