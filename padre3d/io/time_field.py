"""What a column of times means: lags, stamps in whatever unit and with whatever offset, or no time.

The model wants the lag in s: how much older than the newest point a point is.

* Named fields (``t``, ``time``, ...) hold stamps, unless their name says lag, or they hold the few
  different values of accumulated sweeps, or fall from the first point to the last.
* An unnamed fifth column is a ring index where it holds whole numbers of 0 to 255, a lag where it
  has at most 32 different values of -1 to 10 s, stamps where its values ascend in the order of the
  file, and otherwise no time at all: elongation, range, ambient light.
* A unit is an epoch's where the values are as large as an epoch's in that unit and span at most
  10 s in it; else the largest unit in which the values span at most 10 s. Whole numbers are no
  seconds. The offset does not matter: the newest point has lag 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from padre3d.io.options import TIME_UNITS_S

LAG_RANGE_S = (-1.0, 10.0)
MAX_SPAN_S = 10.0
MAX_RING = 255
MAX_SWEEPS = 32
# A sweep of any LiDAR has more points than any beam column of it.
MIN_POINTS_OF_SWEEP = 256
# Share of changes that go up in the order of the file; shuffled points have half.
ASCENDING_SHARE = 0.75
# Stamps coarser than this say nothing about motion: epoch seconds stored as float32.
COARSEST_S = 0.02
# An epoch stamp of the years 1973 to 2286 lies between 1e8 and 1e10 s.
EPOCH_FROM = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))
NAMES = (
    "time",
    "t",
    "timestamp",
    "time_stamp",
    "offset_time",
    "time_offset",
    "timestamps",
    "gps_time",
    "gpstime",
    "time_lag",
    "lag",
)


@dataclass(frozen=True)
class TimeInfo:
    """What was found.

    Attributes:
        source: the field or column, empty without one.
        kind: ``none``, ``ignored``, ``ring``, ``lag``, ``stamps`` or ``unknown``; the lag is 0 in
            all but ``lag`` and ``stamps``.
        unit: unit of the file's values.
        span_s: from the newest to the oldest point.
        sweeps: different lags where they are few, else 1.
    """

    source: str = ""
    kind: str = "none"
    unit: str = "s"
    span_s: float = 0.0
    sweeps: int = 1


def find_time(fields: dict[str, np.ndarray]) -> str | None:
    """The name of the time field; ``t`` beside ``s`` is a texture coordinate."""
    for name in NAMES:
        if name in fields and not (name == "t" and "s" in fields):
            return name
    return None


def named_lag(
    values: np.ndarray, name: str, time_lag: bool | None, unit: str | None
) -> tuple[np.ndarray, TimeInfo]:
    """Lag in s (P,) of a named field (P,), which is not ignored.

    Raises:
        ValueError: if the values span more than 10 s in any unit, or are no lag though
            ``time_lag`` says so.
    """
    source = f"field {name}"
    if time_lag:
        return _as_lag(values, source, unit)
    finite = _finite(values)
    if len(finite) == 0:
        return np.zeros(len(values)), TimeInfo(source, "unknown")
    if _is_lag(finite, name):
        return _as_lag(values, source, unit)
    return _as_stamps(values, source, unit or stamp_unit(finite))


def column_lag(
    values: np.ndarray, time_lag: bool | None, unit: str | None
) -> tuple[np.ndarray, TimeInfo, str]:
    """Lag in s (P,) of an unnamed fifth column (P,).

    Returns:
        The lag, what the column is, and a warning or ``""``.

    Raises:
        ValueError: if it is no lag though ``time_lag`` says so.
    """
    source = "column 5"
    zeros = np.zeros(len(values))
    finite = _finite(values)
    if time_lag is False:
        return zeros, TimeInfo(source, "ignored"), ""
    if time_lag:
        return *_as_lag(values, source, unit), ""
    if unit:
        return *_as_stamps(values, source, unit), ""
    if len(finite) == 0 or (is_whole(finite) and finite.min() >= 0 and finite.max() <= MAX_RING):
        return zeros, TimeInfo(source, "ring"), ""
    in_range = finite.min() >= LAG_RANGE_S[0] and finite.max() <= LAG_RANGE_S[1]
    if in_range and finite.max() > 0 and _distinct(finite) <= MAX_SWEEPS:
        return *_as_lag(values, source, None), ""
    guess = "s" if in_range else stamp_unit(finite)
    ordered = _ascending_share(finite) >= ASCENDING_SHARE
    if guess and (ordered or (finite.max() <= 0 and _distinct(finite) <= MAX_SWEEPS)):
        return *_as_stamps(values, source, guess), ""
    if is_whole(finite) and finite.min() >= 0:
        return zeros, TimeInfo(source, "ring"), ""
    warning = (
        f"column 5 ({_span_text(finite)}) is neither a ring index nor a time: lag 0 is used. "
        "--time-lag takes it as a lag in s, --no-time-lag says that it is none"
    )
    return zeros, TimeInfo(source, "unknown"), warning


def stamp_unit(finite: np.ndarray) -> str | None:
    """Unit in which finite stamps (P,) span at most 10 s, None if they do in none."""
    low, high = finite.min(), finite.max()
    # Python's numbers: the span of integers may not fit their own type.
    span = high.item() - low.item()
    whole = is_whole(finite)
    for least, unit in EPOCH_FROM:
        if low >= least:
            if span * TIME_UNITS_S[unit] <= MAX_SPAN_S:
                return unit
            if unit == "s" and not whole:
                return None
            break
    for unit, seconds in TIME_UNITS_S.items():
        if span * seconds <= MAX_SPAN_S and not (unit == "s" and whole and span > 0):
            return unit
    return None


def is_whole(values: np.ndarray) -> bool:
    """Whether all finite values are whole numbers, as ring indices are."""
    values = _finite(values)
    return values.dtype.kind in "iu" or bool((values == np.rint(values)).all())


def _as_lag(values: np.ndarray, source: str, unit: str | None) -> tuple[np.ndarray, TimeInfo]:
    lag = np.asarray(values, np.float64) * TIME_UNITS_S[unit or "s"]
    finite = _finite(lag)
    low, high = LAG_RANGE_S
    if len(finite) and (finite.min() < low or finite.max() > high):
        raise ValueError(
            f"expected {source} to be a time lag between {low:g} and {high:g} s, got "
            f"{_span_text(finite)} (--no-time-lag ignores it, --time-unit says its unit)"
        )
    return lag, _info(source, "lag", unit or "s", lag)


def _as_stamps(values: np.ndarray, source: str, unit: str | None) -> tuple[np.ndarray, TimeInfo]:
    finite = _finite(values)
    if unit is None or (finite.max().item() - finite.min().item()) * TIME_UNITS_S[unit] > 10:
        raise ValueError(
            f"expected {source} to hold the times of one cloud, {MAX_SPAN_S:g} s at most, got "
            f"{_span_text(finite)} (--no-time-lag ignores it, --time-unit says its unit)"
        )
    seconds = TIME_UNITS_S[unit]
    if values.dtype.kind == "f" and float(np.spacing(np.abs(finite).max())) * seconds > COARSEST_S:
        return np.zeros(len(values)), TimeInfo(source, "unknown", unit)
    # Subtract before scaling: a stamp in ns keeps its digits only as an integer.
    with np.errstate(over="ignore", invalid="ignore"):
        lag = (finite.max() - values).astype(np.float64) * seconds
    return lag, _info(source, "stamps", unit, lag)


def _info(source: str, kind: str, unit: str, lag: np.ndarray) -> TimeInfo:
    finite = _finite(lag)
    if len(finite) == 0:
        return TimeInfo(source, kind, unit)
    few = _distinct(finite) if kind == "lag" else 1
    sweeps = few if few <= MAX_SWEEPS else 1
    return TimeInfo(source, kind, unit, float(finite.max() - finite.min()), sweeps)


def _is_lag(finite: np.ndarray, name: str) -> bool:
    if "lag" in name:
        return bool(finite.min() >= LAG_RANGE_S[0])
    if finite.min() < 0 or finite.max() > LAG_RANGE_S[1] or is_whole(finite):
        return False
    few = _distinct(finite)
    if few <= MAX_SWEEPS and len(finite) >= few * MIN_POINTS_OF_SWEEP:
        return True
    return len(finite) > 1 and _ascending_share(finite) == 0


def _ascending_share(finite: np.ndarray) -> float:
    """Share of the changes between neighbours in the file that go up; 1 without a change."""
    steps = np.sign(np.diff(finite.astype(np.float64)))
    changes = np.count_nonzero(steps)
    return float((steps > 0).sum() / changes) if changes else 1.0


def _distinct(values: np.ndarray) -> int:
    return len(np.unique(values))


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _span_text(finite: np.ndarray) -> str:
    low, high = (_short(v) for v in (finite.min(), finite.max()))
    return f"{low} to {high}"


def _short(value: Any) -> str:
    return f"{float(value):.10g}"
