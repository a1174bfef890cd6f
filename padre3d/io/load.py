"""One door for every point file; the suffix picks the format."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from padre3d.io.binary import read_bin, read_npy
from padre3d.io.cloud import Cloud
from padre3d.io.columns import cloud_from_fields, cloud_from_table
from padre3d.io.options import ReadOptions, options_of
from padre3d.io.pcd import read_pcd
from padre3d.io.ply import read_ply

SUFFIXES = (".bin", ".npy", ".pcd", ".ply")


def load_points(
    path: str | Path,
    columns: int | None = None,
    *,
    dtype: str | None = None,
    time_lag: bool | None = None,
    intensity_scale: float | None = None,
    fields: Sequence[str] | None = None,
    preset: str | None = None,
    intensity_field: str | None = None,
    time_unit: str | None = None,
    unit: str | None = None,
    origin: tuple[float, float, float] | None = None,
) -> np.ndarray:
    """Load a point cloud as the model wants it. Warnings name the options of tools/infer.py.

    Args:
        path: a .bin, .npy, .pcd or .ply file.
        columns: columns of a .bin or .npy; None applies the rule of :mod:`padre3d.io.binary`. More
            than 5 need ``fields``.
        dtype: ``float32``, ``float16`` or ``float64`` numbers in a .bin; None: float16 only if the
            name ends in ``_float16.bin``.
        time_lag: whether the fifth column or time field is the time lag (True) or is ignored
            (False); None applies the rules of :mod:`padre3d.io.time_field`.
        intensity_scale: factor for the intensity; 255 for files that store 0 to 1 (KITTI).
        fields: names of the columns of a .bin or .npy, such as x, y, z, i, _, t; ``_`` skips one.
        preset: a name of :data:`padre3d.io.options.PRESETS`: columns and intensity of a sensor;
            its axes count in :class:`padre3d.io.frames.InputFrame` only.
        intensity_field: name of the field with the intensity.
        time_unit: ``s``, ``ms``, ``us`` or ``ns``; None tells it from the values.
        unit: ``m``, ``cm`` or ``mm``, of x, y and z.
        origin: x, y, z in that unit to subtract, before float32 takes the digits away.

    Returns:
        (P, 5) float32: x, y, z in m, intensity, time lag in s. Rows with NaN or infinity are kept;
        :func:`padre3d.io.drop_unusable` drops and counts them. A file that says it holds no points
        gives (0, 5).

    Raises:
        ValueError: if the file is missing, unreadable, empty, cut off or of another format, or an
            option is impossible; it names the file, what was expected and what came.
        ImportError: if a .ply file or a compressed .pcd file needs a package that is missing.
    """
    options = options_of(
        preset,
        columns=columns,
        dtype=dtype,
        time_lag=time_lag,
        intensity_scale=intensity_scale,
        fields=None if fields is None else tuple(fields),
        intensity_field=intensity_field,
        time_unit=time_unit,
        unit=unit,
        origin=origin,
    )
    cloud = read_cloud(path, options)
    for warning in cloud.warnings:
        warnings.warn(f"{path}: {warning}", stacklevel=2)
    return cloud.points


def read_cloud(path: str | Path, options: ReadOptions | None = None) -> Cloud:
    """Load a point cloud with what is known of its columns.

    Args:
        path: a .bin, .npy, .pcd or .ply file.
        options: how to read it.

    Raises:
        ValueError, ImportError: as :func:`load_points`.
    """
    path = Path(path)
    options = ReadOptions() if options is None else options
    try:
        return _read(path, options)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"{path}: {reason}") from error
    except MemoryError as error:
        raise ValueError(f"{path}: expected a cloud that fits into memory") from error


def point_files(inputs: Sequence[str | Path]) -> list[Path]:
    """The point files behind files and folders, a folder's in the order of their names.

    Raises:
        ValueError: if a folder holds no point file, or two files differ only in folder or suffix,
            so that what is written for them would have one name.
    """
    files: list[Path] = []
    for path in map(Path, inputs):
        found = [path]
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"{path}: expected {', '.join(SUFFIXES)} files, got none")
        files += found
    stems = [path.stem for path in files]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(f"expected inputs of different names, got {', '.join(twice)} twice")
    return files


def _read(path: Path, options: ReadOptions) -> Cloud:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"expected one of {', '.join(SUFFIXES)}, got {suffix or 'no suffix'!r}")
    if not path.is_file():
        raise ValueError(
            f"expected a point file, got {'a folder' if path.is_dir() else 'no such file'}"
        )
    if options.dtype is not None and suffix != ".bin":
        raise ValueError(f"expected a .bin file with --dtype {options.dtype}, got {suffix}")
    if suffix in (".bin", ".npy"):
        return _read_table(path, suffix, options)
    if options.columns is not None:
        raise ValueError(f"expected a .bin or .npy file with --columns, got {suffix}")
    if suffix == ".pcd":
        fields, found = read_pcd(path)
    else:
        fields, found = read_ply(path), []
    cloud = cloud_from_fields(fields, options, f"{suffix} with fields {', '.join(fields)}")
    return _with_warnings(cloud, found)


def _read_table(path: Path, suffix: str, options: ReadOptions) -> Cloud:
    table = read_bin(path, options) if suffix == ".bin" else read_npy(path, options)
    if table.dtype.names is not None:
        named = {n: table[n] for n in table.dtype.names if table.dtype[n].kind in "fiu"}
        return cloud_from_fields(named, options, f".npy with fields {', '.join(named)}")
    columns = table.shape[1]
    layout = f"{columns} columns of {table.dtype.name}"
    if options.fields is None:
        if columns > 5:
            raise ValueError(
                f"expected names for {columns} columns: --fields x,y,z,i{',_' * (columns - 4)}, "
                "with t for a time"
            )
        return cloud_from_table(table, options, layout)
    layout += f" ({','.join(options.fields)})"
    names = enumerate(options.fields)
    return cloud_from_fields({n: table[:, c] for c, n in names if n != "_"}, options, layout)


def _with_warnings(cloud: Cloud, more: list[str]) -> Cloud:
    return replace(cloud, warnings=(*more, *cloud.warnings)) if more else cloud
