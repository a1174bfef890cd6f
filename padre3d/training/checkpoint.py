"""Checkpoints: weights-only loading, and the newest intact file of a training.

mmengine's training checkpoints hold log buffers that only an unsafe load can rebuild, and recent
torch refuses them. :class:`~padre3d.training.hooks.PlainCheckpointHook` leaves the buffers out (the
log file has their values), so every checkpoint here loads with ``weights_only=True``, for resuming
too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

_SAFE = [
    defaultdict,
    np.ndarray,
    np.dtype,
    np.core.multiarray._reconstruct,  # type: ignore[attr-defined]
    np.core.multiarray.scalar,  # type: ignore[attr-defined]
    *{type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8", "u4", "u8", "u1", "?")},
]
_NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth$")


def allow_training_checkpoints() -> None:
    """Let torch's weights-only loader read the numpy scalars of a training's state."""
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
        raise ValueError(
            f"checkpoint {path}: expected a whole file of tensors that loads without running code, "
            f"got: {reason.split('. ')[0]}"
        ) from error
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
