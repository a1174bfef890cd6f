"""Config files. They are code: whatever they raise becomes one error that names the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config


def read_config(path: str | Path, changes: Mapping[str, Any] | None = None) -> Config:
    """The config of a file.

    Args:
        path: config file.
        changes: keys with dots and their values, as ``--cfg-options`` gives them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be executed or changed so.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"config {path}: expected a file, found none")
    with naming_config(path):
        cfg = Config.fromfile(path)
    if changes:
        with naming_config(f"{path}, --cfg-options"):
            cfg.merge_from_dict(dict(changes))
    return cfg


@contextlib.contextmanager
def naming_config(path: str | Path) -> Iterator[None]:
    """Turn what building from a config raises into a ValueError that names it.

    A ValueError or OSError says what is wrong by itself and passes.
    """
    try:
        yield
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"config {path}: {type(error).__name__}: {error}") from error
