"""What the columns of a point table mean: the rules every file format shares.

The model reads x, y, z (m), intensity (0-255) and time lag (s). :mod:`padre3d.io.time_field` has
the rules of the time. No fourth column or intensity field: intensity 0; intensities are taken as
they are, times ``intensity_scale``.
"""

from __future__ import annotations

from pathlib import Path
from warnings import warn

import numpy as np

from padre3d.io.cloud import Cloud, IntensityInfo
from padre3d.io.options import UNITS_M, ReadOptions
from padre3d.io.time_field import TimeInfo, column_lag, find_time, is_whole, named_lag
from padre3d.structures.points import INTENSITY_LIMIT

MAX_INTENSITY = 255.0
INTENSITY_NAMES = (
    "intensity",
    "i",
    "intensities",
    "reflectivity",
    "reflectance",
    "remission",
    "remissions",
)
# CloudCompare writes every value beside the coordinates as scalar_NAME.
PREFIX = "scalar_"


def cloud_from_table(table: np.ndarray, options: ReadOptions, layout: str) -> Cloud:
    """Turn an unnamed table (.bin, .npy) into points.

    Args:
        table: (P, 3), (P, 4) or (P, 5) numbers.
        options: how to read it.
        layout: the table in words.

    Raises:
        ValueError: if an option needs what the table lacks, or the time lag is none.
    """
    columns = table.shape[1]
    if options.intensity_field is not None:
        raise ValueError(
            f"--intensity-field {options.intensity_field}: expected columns with names, got "
            f"{columns} without; --fields names them"
        )
    if columns < 5 and (options.time_lag or options.time_unit):
        raise ValueError(
            f"--time-lag, --time-unit: expected a fifth column with times, got {columns} columns"
        )
    points = np.zeros((len(table), 5), np.float32)
    warnings: list[str] = []
    _set_xyz(points, [table[:, axis] for axis in range(3)], options)
    intensity = IntensityInfo()
    if columns > 3:
        intensity = _set_intensity(points, table[:, 3], "column 4", options, warnings)
    time = TimeInfo()
    if columns > 4:
        lag, time, warning = column_lag(table[:, 4], options.time_lag, options.time_unit)
        points[:, 4] = lag
        warnings += [warning] if warning else []
    return Cloud(points, layout, time, intensity, tuple(warnings))


def cloud_from_fields(fields: dict[str, np.ndarray], options: ReadOptions, layout: str) -> Cloud:
    """Turn named fields (.pcd, .ply, named columns, messages) into points.

    Args:
        fields: (P,) arrays by name: x, y, z, perhaps an intensity and a time, in any case.
        options: how to read them.
        layout: the file in words.

    Raises:
        ValueError: if x, y or z is missing, a field that an option names is, or the time field
            holds no times of one cloud.
    """
    by_name = {name.lower().removeprefix(PREFIX): values for name, values in fields.items()}
    given = ", ".join(fields) or "none"
    missing = [name for name in "xyz" if name not in by_name]
    if missing:
        raise ValueError(f"expected fields x, y, z, got {given} (missing: {', '.join(missing)})")
    warnings: list[str] = []
    points = np.zeros((len(by_name["x"]), 5), np.float32)
    _set_xyz(points, [by_name[axis] for axis in "xyz"], options)
    name = _intensity_name(by_name, options, given)
    intensity = IntensityInfo()
    if name is None:
        warnings.append(
            f"no intensity field among {given}: intensity is 0; --intensity-field chooses one"
        )
    else:
        intensity = _set_intensity(points, by_name[name], f"field {name}", options, warnings)
    time = _set_lag(points, by_name, options, given, warnings)
    return Cloud(points, layout, time, intensity, tuple(warnings), tuple(fields), options.preset)


def lags_of_column(column: np.ndarray, path: Path | str, time_lag: bool | None) -> np.ndarray:
    """Time lags of an unnamed fifth column.

    Args:
        column: (P,) values.
        path: how errors and warnings name the cloud.
        time_lag: whether the values are time lags; None: :mod:`padre3d.io.time_field` tells.

    Returns:
        (P,) lags in s, of the column's type.

    Raises:
        ValueError: if a time lag is not in seconds.
    """
    try:
        lag, _, warning = column_lag(column, time_lag, None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if warning:
        warn(f"{path}: {warning}", stacklevel=2)
    return lag.astype(column.dtype)


def intensity_warning(low: float, high: float, whole: bool) -> str:
    """What to do about intensities of another range than the model's; empty if they fit."""
    expected = f"the model expects 0 to {MAX_INTENSITY:g}"
    if low < 0 or high > MAX_INTENSITY:
        scale = MAX_INTENSITY / max(abs(low), abs(high))
        return f"intensity is {low:g} to {high:g}, {expected}: try --intensity-scale {scale:.3g}"
    if 0 < high <= 1 and not whole:
        return (
            f"no intensity exceeds 1, {expected}: --intensity-scale {MAX_INTENSITY:g} rescales "
            "intensities given as 0 to 1"
        )
    return ""


def _set_xyz(points: np.ndarray, xyz: list[np.ndarray], options: ReadOptions) -> None:
    """Coordinates in metres about the origin, subtracted before float32 takes their digits."""
    scale = UNITS_M[options.unit]
    with np.errstate(over="ignore", invalid="ignore"):
        for axis, values in enumerate(xyz):
            if options.origin is not None:
                values = np.asarray(values, np.float64) - options.origin[axis]
            points[:, axis] = values if scale == 1 else np.asarray(values, np.float64) * scale


def _set_intensity(
    points: np.ndarray,
    values: np.ndarray,
    source: str,
    options: ReadOptions,
    warnings: list[str],
) -> IntensityInfo:
    with np.errstate(over="ignore", invalid="ignore"):
        points[:, 3] = np.tanh(values) if options.intensity_tanh else values
        if options.intensity_scale != 1:
            points[:, 3] *= options.intensity_scale
    finite = points[np.abs(points[:, 3]) <= INTENSITY_LIMIT, 3]
    if len(finite) == 0:
        return IntensityInfo(source, scale=options.intensity_scale)
    low, high = float(finite.min()), float(finite.max())
    warning = intensity_warning(low, high, is_whole(finite))
    if warning:
        warnings.append(warning)
    return IntensityInfo(source, low, high, options.intensity_scale)


def _intensity_name(by_name: dict[str, np.ndarray], options: ReadOptions, given: str) -> str | None:
    if options.intensity_field is not None:
        wanted = options.intensity_field.lower().removeprefix(PREFIX)
        if wanted not in by_name:
            raise ValueError(f"--intensity-field {options.intensity_field}: got fields {given}")
        return wanted
    preferred = (options.preferred_intensity or "", *INTENSITY_NAMES)
    return next((name for name in preferred if name in by_name), None)


def _set_lag(
    points: np.ndarray,
    by_name: dict[str, np.ndarray],
    options: ReadOptions,
    given: str,
    warnings: list[str],
) -> TimeInfo:
    name = find_time(by_name)
    if name is None:
        if options.time_lag or options.time_unit:
            raise ValueError(
                "expected a field time, t, timestamp, time_stamp, offset_time or time_lag with "
                f"--time-lag or --time-unit, got {given}"
            )
        return TimeInfo()
    if options.time_lag is False:
        return TimeInfo(f"field {name}", "ignored")
    points[:, 4], info = named_lag(by_name[name], name, options.time_lag, options.time_unit)
    if info.kind == "unknown" and len(points):
        warnings.append(
            f"field {name} has too few digits for stamps of one cloud (float32?): lag 0 is used; "
            "--no-time-lag says that it is to be ignored"
        )
    return info
