"""Raw tables of numbers: .bin files, which say nothing about themselves, and .npy arrays.

A .bin has as many columns as the caller says; else 5 where the name ends in ``.pcd.bin`` (nuScenes)
or ``_float16.bin``; else 4 or 5, whichever both divides the file and reads plausibly: intensities
within 0 to 255, and in column 5 ring indices or time lags. If both do, the caller has to say.
Numbers are float32, or float16 where the name ends in ``_float16.bin`` or the caller says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from padre3d.io.columns import LAG_RANGE_S, MAX_INTENSITY, is_whole

DTYPES = ("float32", "float16")
MAX_RING = 255
# Far beyond any LiDAR's reach: larger values mean that the columns are read wrongly.
MAX_COORDINATE_M = 10_000.0


def read_bin(path: Path, columns: int | None, dtype: str | None) -> np.ndarray:
    """Read a raw point file.

    Args:
        path: the file.
        columns: numbers per point, 3 to 5; None applies the rule of this module.
        dtype: ``float32`` or ``float16``; None applies the rule of this module.

    Returns:
        (P, 3 to 5) table.

    Raises:
        ValueError: if the file is empty or cut off, or its columns cannot be told.
    """
    name = path.name.lower()
    if dtype is None:
        dtype = "float16" if name.endswith("_float16.bin") else "float32"
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    little = np.dtype(dtype).newbyteorder("<")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path}: expected points, got an empty file")
    if columns is None and name.endswith((".pcd.bin", "_float16.bin")):
        columns = 5
    if columns is None:
        if size % little.itemsize:
            raise ValueError(
                f"{path}: expected a multiple of {little.itemsize} bytes ({dtype}), got {size}; "
                "the file is cut off"
            )
        values = np.fromfile(path, little)
        return values.reshape(-1, _guess_columns(values, path, dtype))
    record = columns * little.itemsize
    if size % record:
        raise ValueError(
            f"{path}: expected a multiple of {record} bytes ({columns} columns of {dtype}), got "
            f"{size}; the file is cut off or has other columns"
        )
    return np.fromfile(path, little).reshape(-1, columns)


def read_npy(path: Path, columns: int | None) -> np.ndarray:
    """Read a (P, 3 to 5) array of real numbers; ValueError for anything else."""
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: expected a complete .npy array of numbers: {error}") from error
    wanted = "3 to 5" if columns is None else str(columns)
    is_real = isinstance(table, np.ndarray) and table.dtype.kind in "fiu"
    if not is_real or table.ndim != 2 or not 3 <= table.shape[1] <= 5:
        raise ValueError(f"{path}: expected a (P, {wanted}) array of real numbers, {_got(table)}")
    if columns is not None and table.shape[1] != columns:
        raise ValueError(f"{path}: expected {columns} columns, got {table.shape[1]}")
    return table


def _got(table: object) -> str:
    if isinstance(table, np.ndarray):
        return f"got shape {table.shape} of {table.dtype}"
    return f"got {type(table).__name__}"


def _guess_columns(values: np.ndarray, path: Path, dtype: str) -> int:
    dividing = [columns for columns in (5, 4) if values.size % columns == 0]
    plausible = [c for c in dividing if _is_plausible(values.reshape(-1, c))]
    if len(plausible) == 1:
        return plausible[0]
    if plausible:
        reason = "both read plausibly"
    elif dividing:
        reason = f"{' and '.join(map(str, dividing))} divide it but read as no point cloud"
    else:
        reason = "neither divides it; the file is cut off or has other columns"
    raise ValueError(
        f"{path}: expected 4 or 5 columns of {dtype}, got {values.size} numbers: {reason}. "
        "Give the columns (and the dtype)"
    )


def _is_plausible(table: np.ndarray) -> bool:
    table = table[np.isfinite(table).all(axis=1)].astype(np.float32)
    if not len(table):
        return False
    if np.abs(table[:, :3]).max() > MAX_COORDINATE_M:
        return False
    if table[:, 3].min() < 0 or table[:, 3].max() > MAX_INTENSITY:
        return False
    if table.shape[1] == 4:
        return True
    last = table[:, 4]
    if is_whole(last):
        return bool(last.min() >= 0 and last.max() <= MAX_RING)
    return bool(last.min() >= LAG_RANGE_S[0] and last.max() <= LAG_RANGE_S[1])
