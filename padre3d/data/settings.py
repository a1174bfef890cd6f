"""What every preparation of data is asked for."""

from __future__ import annotations

import re


def check_settings(tag: str, max_sweeps: int, workers: int) -> None:
    """Raise ValueError for a setting that cannot be.

    Args:
        tag: first word of the names of files; with a slash it would lead out of the folder.
        max_sweeps: past sweeps of a frame.
        workers: processes.
    """
    if not re.fullmatch(r"\w[\w.-]*", tag):
        raise ValueError(f"extra tag: expected letters, digits, ., _ and -, got {tag!r}")
    for name, value, least in (("max_sweeps", max_sweeps, 0), ("workers", workers, 1)):
        if value < least:
            raise ValueError(f"expected {name} >= {least}, got {value}")
