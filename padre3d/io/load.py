"""One door for every point file; the suffix picks the format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from padre3d.io.binary import read_bin, read_npy
from padre3d.io.columns import points_from_fields, points_from_table
from padre3d.io.pcd import read_pcd
from padre3d.io.ply import read_ply

SUFFIXES = (".bin", ".npy", ".pcd", ".ply")


def load_points(
    path: str | Path,
    columns: int | None = None,
    *,
    dtype: str | None = None,
    time_lag: bool | None = None,
    intensity_scale: float = 1.0,
) -> np.ndarray:
    """Load a point cloud as the model wants it.

    Args:
        path: a .bin, .npy, .pcd or .ply file.
        columns: columns of a .bin or .npy, 3 to 5; None applies the rule of
            :mod:`padre3d.io.binary`.
        dtype: ``float32`` or ``float16`` numbers in a .bin; None: float16 only if the name ends
            in ``_float16.bin``.
        time_lag: whether the fifth column or time field is the time lag (True) or is ignored
            (False); None applies the rule of :mod:`padre3d.io.columns`.
        intensity_scale: factor for the intensity; 255 for files that store 0 to 1 (KITTI).

    Returns:
        (P, 5) float32: x, y, z in m, intensity, time lag in s. Rows with NaN, infinity or absurd
        numbers are kept; :func:`padre3d.io.drop_invalid` drops and counts them. A file that says
        it holds no points gives (0, 5).

    Raises:
        ValueError: if the file is missing, empty, cut off or of another format; it names the file,
            what was expected and what came.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: expected one of {', '.join(SUFFIXES)}, got {suffix or 'no suffix'!r}"
        )
    if not path.is_file():
        raise ValueError(
            f"{path}: expected a point file, got {'a folder' if path.is_dir() else 'no such file'}"
        )
    if columns is not None and columns not in (3, 4, 5):
        raise ValueError(f"columns: expected 3, 4 or 5, got {columns}")
    if dtype is not None and suffix != ".bin":
        raise ValueError(f"{path}: expected a .bin file with dtype={dtype!r}, got {suffix}")
    if suffix == ".bin":
        return points_from_table(read_bin(path, columns, dtype), path, time_lag, intensity_scale)
    if suffix == ".npy":
        return points_from_table(read_npy(path, columns), path, time_lag, intensity_scale)
    fields = read_pcd(path) if suffix == ".pcd" else read_ply(path)
    return points_from_fields(fields, path, time_lag, intensity_scale)


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
