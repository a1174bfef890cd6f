"""The one writer of files: a reader never sees half a file, a failed write leaves the old one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PART = ".part"


def write_atomic(path: str | Path, content: str | bytes, sync: bool = False) -> None:
    """Write a file under a temporary name beside ``path`` and move it there in one step.

    A link keeps being one: the file it leads to is replaced. What is no regular file, such as
    /dev/null or a pipe, is written to.

    Args:
        path: the file.
        content: all of it.
        sync: wait until the disk has it, so that a power cut leaves the old or the new file.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        # mkstemp makes files private; give this one the permissions a plain open would.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_parts(folder: str | Path, pattern: str = "*") -> None:
    """Remove what killed processes left of files matching ``pattern``; hold the folder's lock."""
    for path in Path(folder).glob(f".{pattern}{PART}"):
        path.unlink(missing_ok=True)
