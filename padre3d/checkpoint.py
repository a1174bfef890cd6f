"""Checkpoints: weights-only loading, and the newest intact file of a training.

mmengine 0.10 calls ``torch.load`` without ``weights_only``, which recent torch refuses for its
training checkpoints; listing the few plain data classes they hold keeps the safe loader.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# numpy 2 moved the module that numpy 1 pickles name.
_multiarray = getattr(np, "_core", None) or np.core
_SAFE = [
    HistoryBuffer,
    defaultdict,
    np.ndarray,
    np.dtype,
    _multiarray.multiarray._reconstruct,
    _multiarray.multiarray.scalar,
    *{type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8", "u4", "u8", "u1", "?")},
]
_NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth$")


def allow_training_checkpoints() -> None:
    """Let torch's weights-only loader read mmengine's training checkpoints."""
    torch.serialization.add_safe_globals(_SAFE)


def load_checkpoint_file(path: str | Path) -> dict:
    """Load a checkpoint without running code from it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is torn, not a checkpoint, or would have to run code.
    """
    allow_training_checkpoints()
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: expected a file, found none")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"checkpoint {path}: expected a whole torch file, got: {reason}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"checkpoint {path}: expected a dict, got {type(loaded).__name__}")
    return loaded


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest ``epoch_N.pth`` / ``iter_N.pth`` that loads; torn files are skipped.

    The pointer file ``last_checkpoint`` is not consulted: it can itself be cut off by a kill.
    """
    files = [p for p in Path(work_dir).glob("*.pth") if _NUMBERED.search(p.name)]
    for path in sorted(files, key=lambda p: (p.stat().st_mtime, _number(p)), reverse=True):
        try:
            load_checkpoint_file(path)
        except ValueError:
            continue
        return path
    return None


def _number(path: Path) -> int:
    match = _NUMBERED.search(path.name)
    return int(match.group(1)) if match else -1
