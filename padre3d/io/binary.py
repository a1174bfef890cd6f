"""Raw tables of numbers: .bin files, which say nothing about themselves, and .npy arrays.

A .bin has as many columns as the caller says (or names); else 5 where the name ends in ``.pcd.bin``
(nuScenes) or ``_float16.bin``; else 4 or 5, whichever both divides the file and reads plausibly: no
coordinate beyond 10,000 km, intensities of 0 to 255 or whole numbers, and in column 5 anything that
a LiDAR writes there. Six columns are tried as well: they have no usual meaning, so such a file, and
one that reads in two ways, is refused until the caller says what it holds. A number of columns that
the file's values contradict is refused, too. Numbers are float32, or float16 where the name ends in
``_float16.bin``, or what the caller says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from padre3d.io.options import DTYPES, ReadOptions
from padre3d.io.time_field import LAG_RANGE_S, is_whole

GUESSED_COLUMNS = (5, 4, 6)
MAX_COORDINATE = 1e7
MAX_FLOAT_INTENSITY, MAX_WHOLE_INTENSITY = 255.0, 65535.0
# Divisible by 3, 4, 5 and 6: enough to tell columns, the same for every file size.
SAMPLED_VALUES = 60 * 4000
NPY_HEADER_BYTES = 10_000


def read_bin(path: Path, options: ReadOptions) -> np.ndarray:
    """Read a raw point file.

    Args:
        path: the file.
        options: ``columns``, ``fields`` and ``dtype`` count; None applies the rule of this module.

    Returns:
        (P, columns) table.

    Raises:
        ValueError: if the file is empty or cut off, or its columns cannot be told.
    """
    name = path.name.lower()
    dtype = options.dtype or ("float16" if name.endswith("_float16.bin") else "float32")
    little = np.dtype(dtype).newbyteorder("<")
    columns = options.columns if options.fields is None else len(options.fields)
    hint = name.endswith((".pcd.bin", "_float16.bin"))
    if columns is None and hint:
        columns = 5
    size = path.stat().st_size
    if size == 0:
        raise ValueError("expected points, got an empty file")
    record = (columns or 1) * little.itemsize
    if size % record:
        what = f"{columns} columns of {dtype}" if columns else dtype
        end = "the file is cut off" + (" or has other columns" if columns else "")
        raise ValueError(f"expected a multiple of {record} bytes ({what}), got {size}; {end}")
    values = np.fromfile(path, little)
    if columns is None:
        columns = _guess_columns(values, dtype)
    elif options.fields is None:
        _check_columns(values, columns)
    return values.reshape(-1, columns)


def read_npy(path: Path, options: ReadOptions) -> np.ndarray:
    """Read a (P, C) array of real numbers, or a (P,) one with named fields.

    Raises:
        ValueError: for anything else, and for a file shorter than its header promises.
    """
    table = _load_npy(path)
    if table.dtype.names is not None and table.ndim == 1:
        if options.columns is not None or options.fields is not None:
            raise ValueError(
                "--columns, --fields: expected columns without names, got fields "
                + ", ".join(table.dtype.names)
            )
        return table
    named = options.columns is not None or options.fields is not None
    most = table.shape[1] if named and table.ndim == 2 else 5
    if table.dtype.kind not in "fiu" or table.ndim != 2 or not 3 <= table.shape[1] <= most:
        more = "; --fields names the columns of a wider one" if table.ndim == 2 else ""
        if table.dtype.kind in "fiu" and table.ndim == 2 and table.shape[1] == 6 and len(table):
            more += f", or --preset {_preset_of_six(table)}"
        raise ValueError(
            f"expected a (P, 3 to 5) array of real numbers, got shape {table.shape} of "
            f"{table.dtype}{more}"
        )
    wanted = options.columns if options.fields is None else len(options.fields)
    if wanted is not None and table.shape[1] != wanted:
        raise ValueError(f"expected {wanted} columns, got {table.shape[1]}")
    return table


def _load_npy(path: Path) -> np.ndarray:
    """A .npy array; its header is compared with the file's size before memory is taken."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            reader: Any = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = reader(file, max_header_size=NPY_HEADER_BYTES)
        except Exception as error:  # numpy's parser lets SyntaxError, TokenError and others out.
            raise ValueError(f"expected a complete .npy array of numbers: {error!r}") from error
        # numpy takes True for a length.
        if not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError(f"expected a .npy array of numbers, got shape {shape}")
        if dtype.hasobject:
            raise ValueError("expected a .npy array of numbers, got Python objects")
        promised = dtype.itemsize
        for length in shape:
            promised *= length
        got = path.stat().st_size - file.tell()
        if got < promised:
            raise ValueError(
                f"expected a complete .npy array of shape {shape}, {promised} bytes, got {got}"
            )
        file.seek(0)
        try:
            read: Any = np.lib.format.read_array  # its stub lacks max_header_size
            return read(file, allow_pickle=False, max_header_size=NPY_HEADER_BYTES)
        except Exception as error:
            raise ValueError(f"expected a complete .npy array of numbers: {error!r}") from error


def _guess_columns(values: np.ndarray, dtype: str) -> int:
    dividing = [columns for columns in GUESSED_COLUMNS if values.size % columns == 0]
    plausible = [c for c in dividing if _is_plausible(values, c)]
    if len(plausible) == 1 and plausible[0] != 6:
        return plausible[0]
    if plausible == [6]:
        raise ValueError(
            f"expected 4 or 5 columns of {dtype}, got what reads as 6: name them, for example "
            f"--fields x,y,z,i,_,t or --preset {_preset_of_six(_sample(values, 6))}"
        )
    if plausible:
        reason = f"{'both' if len(plausible) == 2 else 'all'} read plausibly"
    elif dividing:
        reason = "they divide it but read as no point cloud"
    else:
        reason = "none divides it; the file is cut off or has other columns"
    counts = " and ".join(map(str, sorted(plausible or dividing or GUESSED_COLUMNS)))
    raise ValueError(
        f"expected 4 or 5 columns of {dtype}, got {values.size} numbers: of {counts} columns "
        f"{reason}. Give --columns or --fields (and --dtype, one of {', '.join(DTYPES)})"
    )


def _preset_of_six(table: np.ndarray) -> str:
    """Whose six columns these could be: a guess by the last two (P, 6)."""
    fifth, sixth = table[:, 4], table[:, 5]
    if (sixth == -1).any() and np.isin(sixth, (-1, 0, 1)).all():
        return "waymo"
    return "velodyne" if is_whole(fifth) or not is_whole(sixth) else "hesai"


def _check_columns(values: np.ndarray, columns: int) -> None:
    """Refuse columns that the values contradict while another number fits them."""
    if _may_be(values, columns):
        return
    fits = [c for c in GUESSED_COLUMNS if values.size % c == 0 and _is_plausible(values, c)]
    if fits:
        raise ValueError(
            f"expected {columns} columns, got values that read as {' or '.join(map(str, fits))}; "
            f"--columns {fits[0]} reads them so, --fields with {columns} names insists"
        )


def _sample(values: np.ndarray, columns: int) -> np.ndarray:
    used = min(SAMPLED_VALUES, values.size) // columns * columns
    table = values[:used].reshape(-1, columns)
    return table[np.isfinite(table).all(axis=1)].astype(np.float64)


def _may_be(values: np.ndarray, columns: int) -> bool:
    """Whether the first columns can be coordinates, and the fourth an intensity of any scale."""
    table = _sample(values, columns)
    if not len(table):
        return True
    if np.abs(table[:, :3]).max() > MAX_COORDINATE:
        return False
    return columns == 3 or bool(table[:, 3].min() >= 0)


def _is_plausible(values: np.ndarray, columns: int) -> bool:
    table = _sample(values, columns)
    if not len(table) or not _may_be(values, columns):
        return False
    intensity = table[:, 3]
    if intensity.max() > (MAX_WHOLE_INTENSITY if is_whole(intensity) else MAX_FLOAT_INTENSITY):
        return False
    # Rings, times and other channels are not negative, or hardly; coordinates are.
    return columns == 4 or bool(table[:, 4].min() >= LAG_RANGE_S[0])
