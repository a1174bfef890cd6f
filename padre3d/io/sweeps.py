"""Many sweeps in one cloud, in the axes of the newest: the one implementation of it.

Training (:class:`padre3d.data.loading.LoadSweeps`), the runtime's
:class:`padre3d.runtime.sweep_buffer.SweepBuffer` and tools/infer.py all call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TIME_LAG_COLUMN = 4


class PastSweep(NamedTuple):
    """A sweep before the newest.

    Attributes:
        points: (P, C >= 5) in its own sensor frame.
        newest_from_sweep: (4, 4) that frame to the newest sweep's.
        time_lag_s: how much older than the newest it is.
    """

    points: np.ndarray
    newest_from_sweep: np.ndarray
    time_lag_s: float


def without_close_points(points: np.ndarray, radius_m: float) -> np.ndarray:
    """Points outside the square ``|x| < radius, |y| < radius``: the ego vehicle's own returns."""
    close = (np.abs(points[:, 0]) < radius_m) & (np.abs(points[:, 1]) < radius_m)
    return points[~close]


def moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A copy of the points (P, C) with x, y, z taken through a motion (4, 4)."""
    result = points.copy()
    # The relative motion is small: float32 keeps it, whatever the poses' coordinates.
    motion = motion.astype(np.float32)
    result[:, :3] = points[:, :3] @ motion[:3, :3].T + motion[:3, 3]
    return result


def accumulate_sweeps(
    newest: np.ndarray,
    past: Sequence[PastSweep],
    *,
    num_sweeps: int = 10,
    close_radius_m: float = 1.0,
    pad: bool = True,
) -> np.ndarray:
    """Join the newest sweep and those before it.

    Args:
        newest: (P, C >= 5) points, all of which are kept.
        past: sweeps before it, nearest in time first; the first ``num_sweeps - 1`` are used.
        num_sweeps: sweeps in the cloud.
        close_radius_m: half side of the square cut around the sensor in every past sweep.
        pad: repeat the oldest sweep until there are ``num_sweeps``; a sweep without any past
            repeats itself with time lag 0.

    Returns:
        (N, C) float32; column 4 is the time lag in s (0 on the newest). The newest come first.
    """
    newest = np.array(newest, np.float32)
    newest[:, TIME_LAG_COLUMN] = 0
    clouds = []
    for sweep in past[: num_sweeps - 1]:
        kept = without_close_points(np.asarray(sweep.points, np.float32), close_radius_m)
        kept = moved(kept, sweep.newest_from_sweep)
        kept[:, TIME_LAG_COLUMN] = sweep.time_lag_s
        clouds.append(kept)
    missing = num_sweeps - 1 - len(clouds)
    if pad and missing:
        oldest = clouds[-1] if clouds else without_close_points(newest, close_radius_m)
        clouds += [oldest] * missing
    return np.concatenate([newest, *clouds])
