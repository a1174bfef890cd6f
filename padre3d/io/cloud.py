"""A loaded cloud with what is known of where its columns came from; points that do not count."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from padre3d.io.time_field import TimeInfo
from padre3d.structures.points import INTENSITY_LIMIT, LAG_LIMIT_S, point_limits

# Beyond any map projection's coordinates: a georeferenced file is read and explained, although the
# network takes no coordinate beyond padre3d.structures.points.COORDINATE_LIMIT_M.
MAX_COORDINATE_M = 1e8


@dataclass(frozen=True)
class IntensityInfo:
    """Where the intensity came from and its range (scaled); NaN without a finite one.

    Attributes:
        source: the field or column, empty without one.
        low, high: over the finite values that are not absurd.
        scale: the factor it was read with.
    """

    source: str = ""
    low: float = np.nan
    high: float = np.nan
    scale: float = 1.0


@dataclass(frozen=True)
class Cloud:
    """Points of one file or message.

    Attributes:
        points: (P, 5) float32 x, y, z in m, intensity, time lag in s; all rows of the file.
        layout: what the file holds, in words.
        time: what the time is.
        intensity: what the intensity is.
        warnings: what a user should know, without the file's name.
        fields: names of the file's fields, where it names them.
        preset: the preset that it was read with.
    """

    points: np.ndarray
    layout: str = ""
    time: TimeInfo = field(default_factory=TimeInfo)
    intensity: IntensityInfo = field(default_factory=IntensityInfo)
    warnings: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    preset: str | None = None


@dataclass(frozen=True)
class Dropped:
    """Points left out: with NaN or infinity, absurd numbers, or at the origin (no return)."""

    invalid: int = 0
    absurd: int = 0
    origin: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.invalid + self.absurd + self.origin

    def text(self) -> str:
        """``"2 with NaN or infinity, 5 at the origin"``; empty for none."""
        parts = (
            (self.invalid, "with NaN or infinity"),
            (self.absurd, "with absurd numbers"),
            (self.origin, "at the origin"),
        )
        return ", ".join(f"{count} {what}" for count, what in parts if count)


def drop_invalid(points: np.ndarray) -> tuple[np.ndarray, int]:
    """Drop rows with a NaN, an infinity or an absurd number in any column.

    Args:
        points: (P, C) points; :func:`padre3d.structures.points.point_limits` has the limits.

    Returns:
        ``(points, dropped)``: the (P - dropped, C) usable rows in their order, and how many went.
    """
    keep = (np.abs(points) <= np.array(point_limits(points.shape[1]), np.float32)).all(axis=1)
    dropped = int(len(points) - keep.sum())
    return (points[keep] if dropped else points), dropped


def drop_unusable(points: np.ndarray) -> tuple[np.ndarray, Dropped]:
    """Drop rows that are no measurement.

    Args:
        points: (P, 5) points.

    Returns:
        The rows that stay, in their order, and how many went: those with NaN or infinity, with a
        coordinate above 1e8 m, an intensity above 1e6 or a lag above 10,000 s, or with
        x = y = z = 0, which is how sensors write that no light came back.
    """
    whole = np.isfinite(points).all(axis=1)
    invalid = int(len(points) - whole.sum())
    finite = points[whole] if invalid else points
    limits = np.array([MAX_COORDINATE_M] * 3 + [INTENSITY_LIMIT, LAG_LIMIT_S], np.float32)
    absurd = (np.abs(finite) > limits).any(axis=1)
    origin = ~absurd & (finite[:, :3] == 0).all(axis=1)
    keep = ~(absurd | origin)
    kept = finite if keep.all() else finite[keep]
    return kept, Dropped(invalid, int(absurd.sum()), int(origin.sum()))
