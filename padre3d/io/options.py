"""How to read point files: what a user can say about a file that does not say it itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DTYPES = ("float32", "float16", "float64")
UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}
TIME_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class ReadOptions:
    """What :func:`padre3d.io.load_points` is told about a file; None leaves it to the file.

    Attributes:
        columns: numbers per point of a .bin or .npy.
        dtype: numbers of a .bin, one of ``DTYPES``.
        fields: names of the columns of a .bin or .npy, ``_`` for those to skip.
        time_lag: True: the time is a lag in s (or ``time_unit``); False: it is ignored.
        time_unit: unit of the time, one of ``TIME_UNITS_S``.
        intensity_field: name of the field with the intensity.
        preferred_intensity: the field used where there is one and none is named.
        intensity_scale: factor for the intensity.
        intensity_tanh: squash the intensity by tanh first, as is usual for Waymo.
        unit: length unit of x, y, z, one of ``UNITS_M``.
        origin: x, y, z in that unit that becomes (0, 0, 0), for georeferenced clouds.
        preset: the preset that these options came from.
    """

    columns: int | None = None
    dtype: str | None = None
    fields: tuple[str, ...] | None = None
    time_lag: bool | None = None
    time_unit: str | None = None
    intensity_field: str | None = None
    preferred_intensity: str | None = None
    intensity_scale: float = 1.0
    intensity_tanh: bool = False
    unit: str = "m"
    origin: tuple[float, float, float] | None = None
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.columns is not None and self.columns < 3:
            raise ValueError(f"--columns: expected 3 or more, got {self.columns}")
        _check_choice("--dtype", self.dtype, DTYPES)
        _check_choice("--time-unit", self.time_unit, tuple(TIME_UNITS_S))
        _check_choice("--unit", self.unit, tuple(UNITS_M))
        if self.fields is not None:
            _check_fields(self.fields, self.columns)
        if not abs(self.intensity_scale) < float("inf"):
            raise ValueError(
                f"--intensity-scale: expected a finite number, got {self.intensity_scale}"
            )
        if self.origin is not None and not (
            len(self.origin) == 3 and all(abs(v) < float("inf") for v in self.origin)
        ):
            raise ValueError(f"--origin: expected three finite numbers, got {self.origin}")


@dataclass(frozen=True)
class Preset:
    """What the files of a sensor or data set usually look like.

    Attributes:
        fields: the columns of a raw table; a file with fewer has the first of them.
        axes: see :class:`padre3d.io.frames.InputFrame`.
        sensor_height_m: height of the origin above the ground, None where every vehicle differs.
        preferred_intensity: as in :class:`ReadOptions`.
    """

    fields: tuple[str, ...]
    axes: str
    sensor_height_m: float | None = None
    intensity_scale: float = 1.0
    intensity_tanh: bool = False
    preferred_intensity: str | None = None


PRESETS: Mapping[str, Preset] = {
    # Velodyne HDL-64 on a car, reflectance 0 to 1.
    "kitti": Preset(("x", "y", "z", "i"), "kitti", 1.73, intensity_scale=255.0),
    # Vehicle frame on the ground; intensity unbounded; elongation, then a no-label-zone flag.
    "waymo": Preset(
        ("x", "y", "z", "i", "_", "_"), "kitti", 0.0, intensity_scale=255.0, intensity_tanh=True
    ),
    # The order of the driver's PointCloud2; intensity is a photon count, reflectivity is 0 to 255.
    "ouster": Preset(
        ("x", "y", "z", "i", "t", "reflectivity", "_", "_", "_"),
        "kitti",
        preferred_intensity="reflectivity",
    ),
    "hesai": Preset(("x", "y", "z", "i", "t", "_"), "nuscenes"),
    # x, y, z, reflectivity, tag, line, timestamp.
    "livox": Preset(("x", "y", "z", "i", "_", "_", "t"), "kitti"),
    # x, y, z, intensity, ring, time.
    "velodyne": Preset(("x", "y", "z", "i", "_", "t"), "kitti"),
}


def preset_of(name: str) -> Preset:
    """The preset of a name; ValueError for another name."""
    _check_choice("--preset", name, tuple(PRESETS))
    return PRESETS[name]


def options_of(preset: str | None = None, **given: Any) -> ReadOptions:
    """Options of a preset, overruled by what is given (None: not given).

    Raises:
        ValueError: on an unknown preset or an impossible option.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if preset is None:
        return ReadOptions(**given)
    base = preset_of(preset)
    names = given.pop("fields", None)
    if names is None:
        columns = given.get("columns", len(base.fields))
        names = (*base.fields, *"_" * columns)[:columns]
    options: dict[str, Any] = {
        "preset": preset,
        "preferred_intensity": base.preferred_intensity,
        "intensity_scale": base.intensity_scale,
        # Who gives a scale has intensities to scale, not to squash.
        "intensity_tanh": base.intensity_tanh and "intensity_scale" not in given,
    }
    return ReadOptions(**{**options, "fields": tuple(names), **given})


def parse_fields(text: str) -> tuple[str, ...]:
    """``"x,y,z,i,_,t"`` as names; ValueError as :class:`ReadOptions`."""
    names = tuple(name.strip() or "_" for name in text.split(","))
    _check_fields(names, None)
    return names


def _check_choice(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ValueError(f"{option}: expected one of {', '.join(choices)}, got {value!r}")


def _check_fields(names: tuple[str, ...], columns: int | None) -> None:
    lower = [name.lower() for name in names]
    if any(lower.count(axis) != 1 for axis in "xyz"):
        raise ValueError(f"--fields: expected x, y and z once each, got {','.join(names)}")
    twice = sorted({n for n in lower if n != "_" and lower.count(n) > 1})
    if twice:
        raise ValueError(f"--fields: expected different names, got {', '.join(twice)} twice")
    if columns is not None and columns != len(names):
        raise ValueError(
            f"--fields: expected as many names as --columns {columns}, got {len(names)}"
        )
