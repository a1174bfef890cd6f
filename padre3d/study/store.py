"""results.jsonl: one line per finished run, appended whole or not at all; and the lock."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from padre3d.io.lock import LockedError, lock

__all__ = ["LockedError", "Row", "append_row", "read_rows", "study_lock"]

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Rows of a results file; none if there is no file.

    A last line that a kill cut short is left out with a warning.

    Raises:
        ValueError: if any other line is not a JSON object.
    """
    if not path.exists():
        return []
    rows = []
    *lines, tail = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = _parse(line)
            if row is None:
                raise ValueError(f"{path}:{number}: expected a JSON object, got {line[:60]!r}")
            rows.append(row)
    if tail.strip():
        row = _parse(tail)
        if row is None:
            warnings.warn(f"{path}: the last line is cut short and ignored", stacklevel=2)
        else:
            rows.append(row)
    return rows


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row with a single write and wait until it is on the disk.

    Call it under ``study_lock``. What a kill left of a last line is removed first.

    Raises:
        OSError: if the line could not be written; the file is then as before.
        ValueError: for a number that JSON does not have (NaN, infinity).
    """
    line = json.dumps(row, allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        separator = _mend(file, path)
        size = os.fstat(file).st_size
        if os.write(file, separator + line) != len(separator + line):
            os.ftruncate(file, size)
            raise OSError(f"{path}: no room for another line")
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def study_lock(*paths: Path) -> Iterator[None]:
    """Hold lock files; the system lets go of them however this process ends.

    Raises:
        LockedError: if another process holds one.
    """
    with contextlib.ExitStack() as stack:
        for path in paths:
            stack.enter_context(lock(path, "another runner is at work on this study", keep=True))
        yield


def _mend(file: int, path: Path) -> bytes:
    """Remove a cut last line; return what must precede the next line."""
    data = os.pread(file, os.fstat(file).st_size, 0)
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return b""
    if _parse(data[whole:]) is not None:
        return b"\n"
    warnings.warn(f"{path}: the last line was cut short and is removed", stacklevel=3)
    os.ftruncate(file, whole)
    return b""


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
