"""The options of the commands that read point clouds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from padre3d.io.frames import AXES_DEG, InputFrame
from padre3d.io.options import (
    DTYPES,
    PRESETS,
    TIME_UNITS_S,
    UNITS_M,
    ReadOptions,
    options_of,
    parse_fields,
    preset_of,
)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how files are read and how their frame lies."""
    add = parser.add_argument_group("reading").add_argument
    add("--preset", choices=PRESETS, help="columns, intensity and axes of a sensor or data set")
    add("--columns", type=int, metavar="N", help="columns of .bin and .npy")
    add("--fields", help="names of these columns, such as x,y,z,i,_,t; _ skips one")
    add("--dtype", choices=DTYPES, help="numbers of a .bin")
    add(
        "--time-lag",
        action=argparse.BooleanOptionalAction,
        help="column 5 or the time field is a time lag in s, or none; default: its values tell",
    )
    add("--time-unit", choices=TIME_UNITS_S, help="unit of the time; default: its values tell")
    add("--intensity-field", metavar="NAME", help="field with the intensity")
    add("--intensity-scale", type=float, help="255 for intensities from 0 to 1")
    add("--unit", choices=UNITS_M, help="of x, y and z; default: m")
    add("--origin", metavar="X,Y,Z", help="the sensor in georeferenced coordinates")
    add("--axes", choices=AXES_DEG, help="nuscenes: y is forward (default); kitti: x is forward")
    add("--yaw", type=float, default=0.0, metavar="DEG", help="turn the cloud counter-clockwise")
    add("--sensor-height", type=float, metavar="M", help="of the cloud's origin above the ground")


def reading_options(args: argparse.Namespace, files: Sequence[Path]) -> dict[str, ReadOptions]:
    """How to read the files, by suffix.

    Raises:
        ValueError: on impossible options, and on one that concerns none of the files.
    """
    suffixes = {path.suffix.lower() for path in files}
    raw, named = {".bin", ".npy"} & suffixes, {".bin"} & suffixes
    given = {
        "columns": (args.columns, raw, ".bin or .npy"),
        "fields": (args.fields and parse_fields(args.fields), raw, ".bin or .npy"),
        "dtype": (args.dtype, named, ".bin"),
    }
    for option, (value, concerned, wanted) in given.items():
        if value is not None and not concerned:
            raise ValueError(f"--{option}: expected a {wanted} file to use it, got none")
    shared = {
        "time_lag": args.time_lag,
        "time_unit": args.time_unit,
        "intensity_field": args.intensity_field,
        "intensity_scale": args.intensity_scale,
        "unit": args.unit,
        "origin": parse_origin(args.origin),
    }
    return {
        suffix: options_of(
            args.preset,
            **shared,
            **{k: v for k, (v, concerned, _) in given.items() if suffix in concerned},
        )
        for suffix in suffixes
    }


def input_frame(args: argparse.Namespace) -> InputFrame:
    """The frame of the input; a preset's axes and height unless they are given."""
    frame = InputFrame(
        args.axes or "nuscenes",
        args.yaw,
        args.sensor_height,
        parse_origin(args.origin) or (0.0, 0.0, 0.0),
        args.unit or "m",
    )
    if args.preset is None:
        return frame
    preset = preset_of(args.preset)
    height = preset.sensor_height_m if args.sensor_height is None else args.sensor_height
    return replace(frame, axes=args.axes or preset.axes, sensor_height_m=height)


def parse_origin(text: str | None) -> tuple[float, float, float] | None:
    """``"1,2,3"`` as numbers; ValueError for anything else."""
    if text is None:
        return None
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--origin: expected X,Y,Z, got {text!r}") from error
    return x, y, z
