"""Files of a folder that may come from anywhere: plain names, no way out of it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


def is_plain_name(name: str) -> bool:
    """Whether a name is that of a file, without a path, a leading dot or unusual characters."""
    return _PLAIN.fullmatch(name) is not None


def file_inside(folder: Path, name: str) -> Path:
    """The path of a regular file of the folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the name is not plain, or what is there is a folder, a device, or a link that
            leaves the folder.
    """
    if not is_plain_name(name):
        raise ValueError(f"{folder}: expected the plain name of a file, got {name!r:.80}")
    path = folder / name
    if os.path.dirname(os.path.realpath(path)) != os.path.realpath(folder):
        raise ValueError(f"{path}: expected a file in the folder, got a link that leaves it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: named in the manifest, but there is none")
    if not path.is_file():
        raise ValueError(f"{path}: expected a file, got a folder or a device")
    return path


def sha256(path: Path) -> str:
    """Checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_hash(folder: Path, name: str, expected: str) -> None:
    """Check that a file of the folder is the exported one.

    Raises:
        FileNotFoundError, ValueError: as :func:`file_inside`, or if the checksum differs.
    """
    path = file_inside(folder, name)
    if sha256(path) != expected:
        raise ValueError(
            f"{path}: expected the exported file with sha256 {expected[:12]}...: "
            "the file is damaged or belongs to another export"
        )
