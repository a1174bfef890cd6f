"""How many pillars the frames of a data set have: what an engine's profile is chosen from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from padre3d.backends.tensorrt_profile import Profile
from padre3d.runtime.grid import Grid
from padre3d.runtime.pillar_encoder import occupied_cells

PERCENTILES = (0, 1, 5, 50, 95, 99, 100)
STEP = 1000
MARGIN = 1.25


def count_pillars(points: np.ndarray, grid: Grid) -> int:
    """Occupied pillars of a cloud (P, >= 3)."""
    return len(occupied_cells(points, grid))


def choose_profile(counts: Iterable[int]) -> Profile:
    """From 1 (a covered sensor still sees something) over the median to a quarter above the most.

    Raises:
        ValueError: without a frame.
    """
    values = np.fromiter(counts, np.int64)
    if len(values) == 0:
        raise ValueError("profile: expected at least one frame to measure, got none")
    high = int(np.ceil(values.max() * MARGIN / STEP) * STEP)
    return Profile(1, max(1, int(np.median(values))), max(high, 1))


def distribution(counts: Iterable[int]) -> dict[str, Any]:
    """Percentiles of the counts."""
    values = np.fromiter(counts, np.int64)
    return {f"p{p}": int(np.percentile(values, p)) for p in PERCENTILES}
