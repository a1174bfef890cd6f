"""Folders that appear whole or not at all, whoever else writes at the same time."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from padre3d.io.files import PART
from padre3d.io.lock import LockedError, lock


@contextlib.contextmanager
def staging(target: str | Path) -> Iterator[Path]:
    """A new folder of one's own beside ``target``, to be filled and then moved.

    It is removed in the end unless it was moved. So is what killed processes left of theirs; a
    folder that is still being filled is left alone.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f".{target.name}.*{PART}.lock"):
        with contextlib.suppress(LockedError), lock(old, "it is being filled"):
            shutil.rmtree(old.with_suffix(""), ignore_errors=True)
    with contextlib.ExitStack() as held:
        folder = _own_folder(target, held)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _own_folder(target: Path, held: contextlib.ExitStack) -> Path:
    """A new folder whose lock was there before it: without a holder it is nobody's."""
    while True:
        folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
        try:
            held.enter_context(
                lock(folder.with_name(folder.name + ".lock"), f"another process fills {folder}")
            )
        except LockedError:
            # Whoever cleans up looked at the file before its lock was taken.
            continue
        folder.mkdir()
        return folder


def replace_folder(new: Path, target: Path) -> None:
    """Move a staged folder to its name; what was there is gone only afterwards."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=PART))
        os.replace(target, aside)
        os.replace(new, target)
        shutil.rmtree(aside)
    else:
        os.replace(new, target)


def move_together(folder: Path, out: Path, merged: Sequence[str] = ()) -> list[Path]:
    """Move all that lies in a staged folder into ``out``; all of it, or nothing after an error.

    Args:
        folder: of :func:`staging`.
        out: where it goes; what has the same names there is replaced.
        merged: folders of which the files are moved one by one: others' files stay beside them.

    Returns:
        The new files and folders of ``out``.
    """
    top = sorted(folder.iterdir())
    new = [path for path in top if path.name not in merged]
    for path in (path for path in top if path.name in merged):
        new += sorted(file for file in path.rglob("*") if file.is_file())
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        targets = [out / path.relative_to(folder) for path in new]
        moves = [
            (target, Path(aside) / str(number))
            for number, target in enumerate(targets)
            if target.exists()
        ]
        moves += zip(new, targets, strict=True)
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        done: list[tuple[Path, Path]] = []
        try:
            for source, target in moves:
                os.replace(source, target)
                done.append((source, target))
        except BaseException:
            for source, target in reversed(done):
                os.replace(target, source)
            raise
    return [out / path.name for path in top]
