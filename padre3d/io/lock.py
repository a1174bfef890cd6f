"""One writer of a folder at a time; the system lets go of a lock however its process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_HELD: set[int] = set()


class LockedError(RuntimeError):
    """Another process is at work where this one wants to write."""


@contextlib.contextmanager
def lock(path: str | Path, what: str, keep: bool = False) -> Iterator[None]:
    """Hold a lock file.

    Args:
        path: the file; its folder is made.
        what: who is at work and where, for the message: "another training is at work in DIR".
        keep: leave the file there afterwards.

    Raises:
        LockedError: if another process holds it.
        OSError: if the file cannot be made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, process = _locked(path, what), os.getpid()
    _HELD.add(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {process} on {os.uname().nodename}".encode())
        yield
    finally:
        # What was forked in between has neither the lock nor the handle.
        if os.getpid() == process:
            if not keep:
                path.unlink(missing_ok=True)
            _HELD.remove(handle)
            os.close(handle)


def _locked(path: Path, what: str) -> int:
    """A handle of the file that has its lock."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 200, 0).decode(errors="replace").strip()
            os.close(handle)
            raise LockedError(
                f"{what} ({owner or 'unknown process'} holds {path}); wait for it or stop it first"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        # Its holder has removed it between the opening and the lock.
        os.close(handle)


def _close_in_child() -> None:
    """A lock is its process's alone: what this one forks would hold it for longer."""
    for handle in _HELD:
        with contextlib.suppress(OSError):
            os.close(handle)
    _HELD.clear()


os.register_at_fork(after_in_child=_close_in_child)
