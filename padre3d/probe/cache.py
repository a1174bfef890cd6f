"""Frames in one file per split, made once and shared by all runs.

The file is an uncompressed ``.npz``: frames are read one at a time, and every read is checked
against the CRC-32 that the archive keeps. Points stay in float32: in float16 a coordinate of 54 m
moves in steps of 3 cm, a third of the length of what a traffic cone shows of itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from padre3d.probe.frames import Frame

HEADER = "header.json"


class DamagedCacheError(ValueError):
    """A cache file is cut short, has wrong bytes or is none."""


class FrameCache:
    """Frames of a cache file by number.

    Args:
        path: the file.
        key: what its content must have been made from.

    Raises:
        DamagedCacheError: if the file is not whole or of another key.
        FileNotFoundError: if there is none.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        self.path, self.key = Path(path), key
        try:
            with zipfile.ZipFile(self.path) as archive:
                bad = archive.testzip()
                header = json.loads(archive.read(HEADER)) if bad is None else {}
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise DamagedCacheError(f"{path}: expected a whole cache file: {error}") from error
        if bad is not None or header.get("key") != key:
            found = header.get("key") if bad is None else f"wrong bytes in {bad}"
            raise DamagedCacheError(f"{path}: expected a whole cache of key {key}, got {found}")
        self._archive = zipfile.ZipFile(self.path)
        self._length = int(header["frames"])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index`` as arrays."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame: expected 0 to {len(self) - 1}, got {index}")
        return Frame(*(self._read(f"{index:06d}/{name}.npy") for name in Frame._fields))

    def _read(self, name: str) -> np.ndarray:
        with self._archive.open(name) as member:
            return npy.read_array(member, allow_pickle=False)


def open_cache(
    path: str | Path,
    key: str,
    frames: Callable[[], Iterable[Frame]],
    notify: Callable[[str], None] = print,
) -> FrameCache:
    """The cache at ``path``, written first if it is missing, damaged or of another key.

    Args:
        path: the file; its folder is created.
        key: hash of what the frames are made from.
        frames: gives the frames to write.
        notify: is told what is done.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Runs that start together make one cache, not one each.
    with _lock(path.with_name(f".{path.name}.lock")):
        with contextlib.suppress(FileNotFoundError):
            try:
                return FrameCache(path, key)
            except DamagedCacheError as error:
                notify(f"made anew: {error}")
        notify(f"writing {path}")
        write_cache(path, key, frames())
        return FrameCache(path, key)


def write_cache(path: Path, key: str, frames: Iterable[Frame]) -> None:
    """Write a cache file under a temporary name and move it to ``path`` in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        count = 0
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for count, frame in enumerate(frames, 1):
                for name, array in zip(Frame._fields, frame, strict=True):
                    with archive.open(f"{count - 1:06d}/{name}.npy", "w") as member:
                        npy.write_array(member, np.asarray(array), allow_pickle=False)
            archive.writestr(HEADER, json.dumps({"key": key, "frames": count}))
        # mkstemp makes files private; others may share this one.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait for and hold a lock file; the system lets go of it however this process ends."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
