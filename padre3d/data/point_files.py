"""Point files: float32 rows, checked when read, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.io.plain_arrays import plain_globals

BYTES_PER_VALUE = 4
LEAST_MEMORY = 2**28


def read_points(path: str | os.PathLike[str], columns: int = 5) -> np.ndarray:
    """Read a point file such as nuScenes' ``.pcd.bin``.

    Args:
        path: file of float32 rows.
        columns: values in a row.

    Returns:
        (N, columns) float32, writable.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the size is not a whole number of rows or a value is NaN or infinite.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"point file not found: {path}")
    values = np.fromfile(path, dtype=np.float32)
    check_point_file_size(path, os.path.getsize(path), columns)
    points = values.reshape(-1, columns)
    check_finite(points, path)
    return points


def check_finite(points: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a value of the points (N, C) of a file is NaN or infinite."""
    finite = np.isfinite(points)
    if not finite.all():
        bad = int((~finite.all(1)).sum())
        raise ValueError(
            f"{path}: expected finite values, "
            f"found NaN or infinity in {bad} of {len(points)} points"
        )


def check_point_file_size(path: str | os.PathLike[str], size: int, columns: int) -> None:
    """Raise ValueError unless ``size`` bytes are a whole number of float32 rows."""
    row = columns * BYTES_PER_VALUE
    if size % row == 0:
        return
    fits = [c for c in range(3, 9) if size % (c * BYTES_PER_VALUE) == 0]
    hint = f"; the size would fit {' or '.join(map(str, fits))} columns" if fits else ""
    raise ValueError(
        f"{path}: expected rows of {columns} float32 values ({row} bytes), found {size} bytes, "
        f"which is {size // row} rows and {size % row} bytes: truncated, or another format{hint}"
    )


_ARRAYS = plain_globals()
_PLAIN = {
    *((module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset")),
    ("collections", "OrderedDict"),
}


class _PlainUnpickler(pickle.Unpickler):
    """Containers, strings, numbers and numpy arrays; nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        """The few classes of plain data."""
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if f"{module}.{name}" in _ARRAYS:
            return _ARRAYS[f"{module}.{name}"]
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}, which is not plain data")


@contextlib.contextmanager
def _little_memory(most: int) -> Iterator[None]:
    """Let this process grow by so many bytes only, where the system can see to it.

    A pickle of a few bytes can ask for a table of billions of entries.
    """
    if not os.path.exists("/proc/self/statm"):
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + most
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _latin1(text: str, _: str) -> bytes:
    """How pickles of protocol 2 hold bytes."""
    return text.encode("latin1")


def read_pickle(path: str | os.PathLike[str], what: str) -> Any:
    """Plain data of a pickle; nothing in the file is executed.

    Args:
        path: the file.
        what: what it should be, for messages: ``"an info file"``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is torn, no pickle, or holds other objects than plain data.
    """
    try:
        with open(path, "rb") as file, _little_memory(LEAST_MEMORY + 40 * os.path.getsize(path)):
            return _PlainUnpickler(file).load()
    except OSError:
        raise
    # What a damaged pickle raises is anything that the objects in it raise.
    except Exception as error:
        raise ValueError(
            f"{path}: expected {what} of tools/create_data.py, got {type(error).__name__}: {error}"
        ) from error


def write_pickle(path: str | os.PathLike[str], value: Any) -> None:
    """Pickle ``value`` to ``path``; a reader sees the old file or the whole new one."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as f:
            pickle.dump(value, f, protocol=pickle.HIGHEST_PROTOCOL)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
