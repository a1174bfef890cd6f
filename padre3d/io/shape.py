"""Guesses from the shape of a cloud: its length unit, its ground, where forward is."""

from __future__ import annotations

import numpy as np

NEAR_M, FAR_M = 3.0, 25.0
GROUND_BIN_M = 0.1
# A bin of the ground holds at least this share of the near points.
GROUND_SHARE = 0.05
FEW_POINTS = 50
# Length of the mean direction of the points: 0 all around, 0.64 for half a circle.
SECTOR_LENGTH = 0.6
# Spread of what stands upright along one axis against the other: a road, not a square.
ROAD_RATIO = 1.3


def unit_of(points: np.ndarray) -> str:
    """``metres``, ``centimetres``, ``millimetres``, ``georeferenced`` or ``unknown``.

    A cloud far from the origin against its own size is georeferenced. No LiDAR of a vehicle sees
    1,000 m; a cloud that wide is in cm or mm, and the height of its ground tells which.

    Args:
        points: (P, >= 3), finite.
    """
    if not len(points):
        return "unknown"
    centre = np.median(points[:, :2], axis=0).astype(np.float64)
    spread = float(np.percentile(np.hypot(*(points[:, :2] - centre).T), 98))
    far = float(np.hypot(*centre))
    if far > 1000 and spread < far / 2:
        return "georeferenced"
    if spread > 1000:
        low = abs(float(np.percentile(points[:, 2], 20)))
        return "millimetres" if spread > 25_000 or low > 400 else "centimetres"
    return "unknown" if max(spread, far) < 2 else "metres"


def ground_height(points: np.ndarray) -> float | None:
    """z in metres of the most frequent low height near the sensor, None if no height stands out.

    Args:
        points: (P, >= 3) in metres, finite.
    """
    centred = points[:, :2] - np.median(points[:, :2], axis=0) * (_far(points) > 1000)
    distance = np.hypot(*centred.T)
    z = points[(distance > NEAR_M) & (distance < FAR_M), 2]
    if len(z) < FEW_POINTS:
        return None
    # The ground is below most of what stands on it, and above a few reflections.
    low, high = np.percentile(z, [1, 75])
    edges = np.arange(low - GROUND_BIN_M, high + 2 * GROUND_BIN_M, GROUND_BIN_M)
    counts, edges = np.histogram(z, edges)
    smooth = np.convolve(counts, [1, 1, 1], "same")
    top = int(smooth.argmax())
    if smooth[top] < GROUND_SHARE * len(z):
        return None
    in_mode = z[(z >= edges[max(top - 1, 0)]) & (z <= edges[min(top + 2, len(edges) - 1)])]
    return float(np.median(in_mode))


def forward_of(points: np.ndarray) -> float | None:
    """Direction of forward in radians from +x, None if the cloud does not show it.

    A sensor that sees a sector looks forward. One that looks all around sees farther along the
    road, which tells the axis but not its sign; the positive one is returned.

    Args:
        points: (P, >= 3) in metres, finite.
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    seen = points[distance > NEAR_M, :2]
    if len(seen) < FEW_POINTS:
        return None
    mean = (seen / np.hypot(*seen.T)[:, None]).mean(axis=0)
    if np.hypot(*mean) > SECTOR_LENGTH:
        return float(np.arctan2(mean[1], mean[0]))
    along = np.sqrt(np.mean(np.square(seen, dtype=np.float64), axis=0))
    if along[0] > ROAD_RATIO * along[1]:
        return 0.0
    return float(np.pi / 2) if along[1] > ROAD_RATIO * along[0] else None


def _far(points: np.ndarray) -> float:
    return float(np.hypot(*np.median(points[:, :2], axis=0)))
