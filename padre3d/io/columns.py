"""What the columns of a point table mean: the rules every file format shares.

The model reads x, y, z (m), intensity (0-255) and time lag (s: how much older than the newest sweep
a point is). Files disagree about the last two:

* Fifth column of whole numbers: the ring (beam) index of a single nuScenes sweep; the lag is 0.
  Anything else in it: the time lag. ``time_lag`` True or False decides instead of the values.
* A named time field (.pcd, .ply) is a lag in seconds, or epoch time stamps (s, ms, us or ns; their
  magnitude tells), of which the newest has lag 0.
* No fourth column: intensity 0. Intensities are taken as they are, times ``intensity_scale``.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from padre3d.structures.points import point_limits

MAX_INTENSITY = 255.0
LAG_RANGE_S = (-1.0, 10.0)
# An epoch stamp of the years 1973 to 2286 lies between 1e8 and 1e10 s.
EPOCH_UNITS_S = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e8, 1.0))


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


def is_whole(values: np.ndarray) -> bool:
    """Whether all finite values are whole numbers, as ring indices are."""
    values = values[np.isfinite(values)]
    return bool((values == np.rint(values)).all())


def points_from_table(
    table: np.ndarray, path: Path, time_lag: bool | None, intensity_scale: float
) -> np.ndarray:
    """Turn an unnamed table (.bin, .npy) into points.

    Args:
        table: (P, 3), (P, 4) or (P, 5) numbers.
        path: how errors name the file.
        time_lag: whether a fifth column is a time lag; None: unless it holds whole numbers.
        intensity_scale: factor for the fourth column.

    Returns:
        (P, 5) float32 points.

    Raises:
        ValueError: if a time lag is not in seconds.
    """
    points = np.zeros((len(table), 5), np.float32)
    points[:, : table.shape[1]] = table
    if table.shape[1] == 5:
        points[:, 4] = lags_of_column(points[:, 4], path, time_lag)
    _scale_intensity(points, path, intensity_scale)
    return points


def lags_of_column(column: np.ndarray, path: Path | str, time_lag: bool | None) -> np.ndarray:
    """Time lags of an unnamed fifth column.

    Args:
        column: (P,) values.
        path: how errors name the cloud.
        time_lag: whether the values are time lags; None: unless they are whole numbers.

    Returns:
        (P,) lags in s: the column, or zeros.

    Raises:
        ValueError: if a time lag is not in seconds.
    """
    if time_lag is None:
        time_lag = not is_whole(column)
    if not time_lag:
        return np.zeros_like(column)
    _check_lag(column, path, "column 5")
    return column


def points_from_fields(
    fields: dict[str, np.ndarray], path: Path, time_lag: bool | None, intensity_scale: float
) -> np.ndarray:
    """Turn named fields (.pcd, .ply) into points.

    Args:
        fields: (P,) arrays by name: x, y, z, perhaps an intensity and a time, in any case.
        path: how errors name the file.
        time_lag: False ignores a time field; otherwise it is used where there is one.
        intensity_scale: factor for the intensity.

    Returns:
        (P, 5) float32 points.

    Raises:
        ValueError: if x, y or z is missing, a time is neither a lag in seconds nor an epoch stamp,
            or ``time_lag`` is True and there is no time field.
    """
    by_name = {name.lower(): values for name, values in fields.items()}
    missing = [name for name in "xyz" if name not in by_name]
    if missing:
        raise ValueError(
            f"{path}: expected fields x, y, z, got {', '.join(fields) or 'none'} "
            f"(missing: {', '.join(missing)})"
        )
    points = np.zeros((len(by_name["x"]), 5), np.float32)
    for axis, name in enumerate("xyz"):
        points[:, axis] = by_name[name]
    intensity = _first(by_name, ("intensity", "i", "scalar_intensity", "reflectance"))
    if intensity is None:
        warnings.warn(f"{path}: no intensity field, intensity is 0", stacklevel=3)
    else:
        points[:, 3] = intensity
    stamps = _first(by_name, ("time", "t", "timestamp", "time_lag"))
    if stamps is None and time_lag:
        raise ValueError(
            f"{path}: expected a field time, t, timestamp or time_lag, got {', '.join(fields)}"
        )
    if stamps is not None and time_lag is not False:
        points[:, 4] = _lag_of(stamps, path)
    _scale_intensity(points, path, intensity_scale)
    return points


def _first(fields: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((fields[name] for name in names if name in fields), None)


def _lag_of(stamps: np.ndarray, path: Path) -> np.ndarray:
    """Lag in seconds of lags or epoch stamps (P,)."""
    finite = stamps[np.isfinite(stamps)]
    oldest = float(finite.min()) if len(finite) else 0.0
    for least, unit_s in EPOCH_UNITS_S:
        if oldest >= least:
            # Subtract before scaling: a stamp in ns keeps its digits only as an integer.
            return (finite.max() - stamps).astype(np.float64) * unit_s
    _check_lag(stamps, path, "the time field")
    return stamps


def _check_lag(lag_s: np.ndarray, path: Path | str, what: str) -> None:
    finite = lag_s[np.isfinite(lag_s)]
    low, high = LAG_RANGE_S
    if len(finite) and (finite.min() < low or finite.max() > high):
        raise ValueError(
            f"{path}: expected {what} to be a time lag between {low:g} and {high:g} s, "
            f"got {finite.min():g} to {finite.max():g} (time_lag=False ignores it)"
        )


def _scale_intensity(points: np.ndarray, path: Path, scale: float) -> None:
    points[:, 3] *= scale
    values = points[np.isfinite(points[:, 3]), 3]
    if len(values) and 0 < values.max() <= 1 and not is_whole(values):
        warnings.warn(
            f"{path}: no intensity exceeds 1, the model expects 0 to {MAX_INTENSITY:g}; "
            f"intensity_scale={MAX_INTENSITY:g} rescales intensities given as 0 to 1",
            stacklevel=4,
        )
