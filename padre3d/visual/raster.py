"""The cloud as an image: one pass over the points however many there are."""

from __future__ import annotations

import numpy as np

from padre3d.visual.style import HEIGHT_RANGE_M, ramp_rgb

# One point in a cell is drawn this opaque; more points approach 1.
SINGLE_POINT_ALPHA = 0.62


def rasterise(points: np.ndarray, range_m: float, cells: int) -> np.ndarray:
    """Draw points from above.

    Args:
        points: (P, >= 3) points; those with NaN or outside the square are left out.
        range_m: half the side of the square around the sensor.
        cells: cells per side.

    Returns:
        (cells, cells, 4) RGBA in 0 to 1; row 0 is the smallest y, column 0 the smallest x. The
        colour is the height of the highest point in a cell, the opacity grows with their number.
    """
    xyz = np.asarray(points[:, :3], np.float64)
    xyz = xyz[np.isfinite(xyz).all(axis=1)]
    cell = np.floor((xyz[:, :2] + range_m) * (cells / (2 * range_m)))
    inside = ((cell >= 0) & (cell < cells)).all(axis=1)
    cell, z = cell[inside].astype(np.int64), xyz[inside, 2]
    flat = cell[:, 1] * cells + cell[:, 0]
    count = np.bincount(flat, minlength=cells * cells)
    top = np.full(cells * cells, -np.inf)
    np.maximum.at(top, flat, z)
    low, high = HEIGHT_RANGE_M
    height = np.clip((top - low) / (high - low), 0, 1)
    alpha = 1 - (1 - SINGLE_POINT_ALPHA) ** np.minimum(count, 8)
    return np.concatenate([ramp_rgb(height), alpha[:, None]], axis=1).reshape(cells, cells, 4)
