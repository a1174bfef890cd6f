"""Checkpoints: weights-only loading of whole files, and the newest intact one of a training.

mmengine's training checkpoints hold log buffers that only an unsafe load can rebuild, and recent
torch refuses them. :class:`~padre3d.training.hooks.PlainCheckpointHook` leaves the buffers out (the
log file has their values), so every checkpoint here loads with ``weights_only=True``, for resuming
too. ``torch.load`` checks no sum: every member's CRC is checked before.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from padre3d.io.plain_arrays import PlainArray, PlainType, plain_globals

# A class is named so that its instances may take their state.
_SAFE: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    defaultdict,
    PlainType,
    PlainArray,
    *((function, name) for name, function in plain_globals().items()),
]
STOPPED = "stopped.pth"
RUNNING = "running.pth"
AVERAGED = "ema_state_dict"
# In meta: which training of a work dir wrote a checkpoint, 1 the first; 0 where nothing says so.
RUN = "run"
# CheckpointHook's filename_tmpl may put a name in front; its best_*.pth are not resumed.
_OF_TRAINING = re.compile(
    rf"(?!best_)(?:.+_)?(?:epoch|iter)_\d+\.pth|{re.escape(STOPPED)}|{re.escape(RUNNING)}"
)
_NAMED = 3


def allow_training_checkpoints() -> None:
    """Let torch's weights-only loader read the numpy scalars of a training's state."""
    torch.serialization.add_safe_globals(_SAFE)


def load_checkpoint_file(path: str | Path) -> dict:
    """Load a checkpoint without running code from it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is torn or damaged, not a checkpoint of torch 1.6 or later, or would
            have to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: expected a file, found none")
    _check_members(path)
    return _load(path, mmap=False)


def training_checkpoint(path: str | Path) -> dict:
    """A checkpoint that a training can go on from: weights, optimizer, and how far it was.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_checkpoint_file`, and for a checkpoint of
            weights alone.
    """
    loaded = load_checkpoint_file(path)
    _progress(loaded, path)
    state_of(loaded, path)
    return loaded


def latest_checkpoint(
    work_dir: str | Path, say: Callable[[str], None] = lambda text: None
) -> Path | None:
    """The intact checkpoint of the last training in a folder that is furthest in iterations.

    Neither the files' times nor the pointer file ``last_checkpoint`` are consulted: a copy changes
    the one, a kill can cut the other off. What a former training left there does not count, however
    far it was.

    Args:
        work_dir: folder with ``epoch_N.pth``, ``iter_N.pth``, ``stopped.pth``, ``running.pth``.
        say: is told of every file that would have come first and is not intact or not finite.
    """
    found = _of_trainings(work_dir, say)
    last = max((run for run, _, _ in found), default=0)
    for _, _, path in sorted((f for f in found if f[0] == last), reverse=True):
        try:
            _check_finite(training_checkpoint(path), path)
        except ValueError as error:
            say(f"passed over: {error}")
        else:
            return path
    return None


def last_run(work_dir: str | Path) -> tuple[int, int]:
    """Number and furthest iteration of the last training with a checkpoint in a folder.

    (0, -1) where there is none.
    """
    found = _of_trainings(work_dir, lambda text: None)
    return max(((run, progress[0]) for run, progress, _ in found), default=(0, -1))


def run_of(loaded: dict) -> int:
    """The number of the training that wrote a checkpoint."""
    number = loaded["meta"].get(RUN)
    return number if type(number) is int else 0


def _of_trainings(
    work_dir: str | Path, say: Callable[[str], None]
) -> list[tuple[int, tuple[int, int], Path]]:
    """Run, progress and path of the checkpoints of trainings in a folder, their sums unread."""
    found = []
    for path in sorted(Path(work_dir).glob("*.pth")):
        if not _OF_TRAINING.fullmatch(path.name):
            continue
        try:
            loaded = _load(path, mmap=True)
            progress = _progress(loaded, path)
            found.append((run_of(loaded), progress, path))
        except ValueError as error:
            say(f"passed over: {error}")
    return found


def check_resumable(model: nn.Module, path: str | Path) -> None:
    """Refuse a checkpoint that a training of this model cannot go on from.

    Raises:
        ValueError: if it is not intact, belongs to another config, holds weights alone, or weights
            that are not finite.
        FileNotFoundError: if there is no such file.
    """
    loaded = training_checkpoint(path)
    fit_state(model, loaded, path)
    _check_finite(loaded, path)


def load_state(model: nn.Module, loaded: dict, path: str | Path) -> None:
    """Load a checkpoint's weights into a model; see :func:`fit_state`."""
    state = fit_state(model, loaded, path)
    getattr(model, "module", model).load_state_dict(state)


def fit_state(model: nn.Module, loaded: dict, path: str | Path) -> dict[str, Tensor]:
    """The weights of a loaded checkpoint, seen to be the model's and finite.

    Args:
        model: the model; a distributed wrapper is looked through.
        loaded: of :func:`load_checkpoint_file`.
        path: what messages name.

    Raises:
        ValueError: if keys are missing, unexpected or of another shape or kind, or a weight is NaN
            or infinite.
    """
    state = state_of(loaded, path)
    if AVERAGED in loaded:
        # mmengine writes the averaged weights in the place of those that the optimizer changes.
        print(f"checkpoint {path}: averaged weights (EMA)", file=sys.stderr)
    try:
        wanted = _wanted(getattr(model, "module", model), state)
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}") from error
    problems = _mismatches(wanted, state)
    if problems:
        raise ValueError(
            f"checkpoint {path} does not fit the model, it belongs to another config: "
            + "; ".join(problems)
        )
    _refuse_infinite(state, path)
    return state


def state_of(loaded: dict, path: str | Path) -> dict[str, Tensor]:
    """The state dict in a training checkpoint, or a bare one; without a wrapper's prefix.

    Raises:
        ValueError: if there is none.
    """
    state = loaded.get("state_dict", loaded)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"checkpoint {path}: expected a state_dict of tensors, got keys "
            f"{first(sorted(map(str, loaded)))}"
        )
    plain: Any = OrderedDict((_plain(key), value) for key, value in state.items())
    # Versions by module: layers of other libraries decide by them how old weights are read.
    metadata = getattr(state, "_metadata", None)
    if isinstance(metadata, dict):
        plain._metadata = {_plain(name): of for name, of in metadata.items()}
    return plain


def _plain(name: object) -> str:
    """The name of a module or weight without that of a distributed wrapper around all of them."""
    name = str(name)
    return "" if name == "module" else name.removeprefix("module.")


def is_finite(value: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    return bool(torch.isfinite(value).all())


def number_kind(value: Tensor) -> str:
    """Which numbers a tensor holds; any precision of real numbers is one kind."""
    if value.layout is not torch.strided or value.is_quantized:
        return "sparse or quantized numbers"
    if value.is_floating_point():
        return "real numbers"
    return "complex numbers" if value.is_complex() else "whole numbers"


def first(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _check_finite(loaded: dict, path: str | Path) -> None:
    """Raise ValueError unless the weights, and those that an average was made of, are finite."""
    _refuse_infinite(state_of(loaded, path), path)
    if AVERAGED in loaded:
        _refuse_infinite(state_of({"state_dict": loaded[AVERAGED]}, path), path)


def _refuse_infinite(state: dict[str, Tensor], path: str | Path) -> None:
    bad = [key for key, value in state.items() if not is_finite(value)]
    if bad:
        raise ValueError(
            f"checkpoint {path}: expected finite weights, got NaN or infinity in {len(bad)} of "
            f"{len(state)} tensors: {first(bad)}"
        )


def _check_members(path: Path) -> None:
    """Raise ValueError unless the file is a zip archive whose members have their right sums."""
    expected = f"checkpoint {path}: expected a whole file of torch 1.6 or later, got"
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            promised = sum(member.file_size for member in members)
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            bomb = packed or promised > size
            broken = None if bomb else archive.testzip()
    # zipfile raises much on hostile archives: BadZipFile, UnicodeDecodeError, struct.error, ...
    except Exception as error:
        raise ValueError(f"{expected} {size} bytes that are no intact zip archive") from error
    if bomb:
        raise ValueError(f"{expected} a zip archive that unpacks to {promised} bytes of {size}")
    if broken is not None:
        raise ValueError(f"{expected} a damaged one: the checksum of {broken!r} is wrong")


def _load(path: Path, mmap: bool) -> dict:
    allow_training_checkpoints()
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        # Some say no more than the byte or the key that surprised them.
        if " " not in reason:
            reason = f"{type(error).__name__} {reason}".strip()
        raise ValueError(
            f"checkpoint {path}: expected a whole file of tensors that loads without running code, "
            f"got: {reason.split('. ')[0]}"
        ) from error
    if not isinstance(loaded, dict):
        raise ValueError(f"checkpoint {path}: expected a dict, got {type(loaded).__name__}")
    return loaded


def _progress(loaded: dict, path: str | Path) -> tuple[int, int]:
    """Iterations and epochs done."""
    meta: Any = loaded.get("meta")
    numbers: list[Any] = [
        meta.get(name) if isinstance(meta, dict) else None for name in ("iter", "epoch")
    ]
    if not all(type(n) is int and n >= 0 for n in numbers) or "optimizer" not in loaded:
        raise ValueError(
            f"checkpoint {path}: expected one of a training, with optimizer, epoch and iteration, "
            f"got keys {first(sorted(map(str, loaded)))}"
        )
    return numbers[0], numbers[1]


def _wanted(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that a model expects in place of ``state``.

    What a module names in ``optional_state`` may be missing, or anything that the module takes.
    """
    wanted = model.state_dict()
    for name, module in model.named_modules():
        for inner, check in getattr(module, "optional_state", {}).items():
            key = f"{name}.{inner}" if name else inner
            wanted.pop(key, None)
            if key in state:
                check(state[key])
                wanted[key] = state[key]
    return wanted


def _mismatches(wanted: dict[str, Tensor], got: dict[str, Tensor]) -> list[str]:
    """What is wrong with a state dict, one sentence a kind."""
    missing = [key for key in wanted if key not in got]
    unexpected = [key for key in got if key not in wanted]
    shared = [key for key in wanted if key in got]
    reshaped = [
        f"{key} (expected {tuple(wanted[key].shape)}, got {tuple(got[key].shape)})"
        for key in shared
        if wanted[key].shape != got[key].shape
    ]
    other = [
        f"{key} (expected {number_kind(wanted[key])}, got {number_kind(got[key])})"
        for key in shared
        if number_kind(wanted[key]) != number_kind(got[key])
    ]
    kinds = (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", reshaped),
        ("of another kind", other),
    )
    return [f"{len(keys)} {kind}: {first(keys)}" for kind, keys in kinds if keys]
