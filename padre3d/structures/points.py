"""Which numbers of a point count: the one home of the limits, for numpy and torch alike."""

from __future__ import annotations

# Far beyond any sensor: a larger number is a fault of the sensor or of the file. It would drown the
# numbers of the pillar, and of every pillar that shares a convolution with it.
COORDINATE_LIMIT_M = 1e5
INTENSITY_LIMIT = 1e6
LAG_LIMIT_S = 1e4
LARGEST_FLOAT32 = 3.4028234663852886e38


def point_limits(columns: int) -> tuple[float, ...]:
    """Largest magnitude of each column of a usable point.

    A point counts if ``abs(point) <= limits`` in every column, which is false for NaN and infinity.

    Args:
        columns: of a point: x, y, z in m, intensity, time lag in s, and then others, which need
            only be finite.
    """
    named = (*(COORDINATE_LIMIT_M,) * 3, INTENSITY_LIMIT, LAG_LIMIT_S)
    return (named + (LARGEST_FLOAT32,) * (columns - len(named)))[:columns]
