"""Checkpoint files that appear whole or not at all, for mmengine's savers."""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from padre3d.io.files import write_atomic

# backend_args of CheckpointHook and Runner.save_checkpoint.
ATOMIC = {"backend": "padre3d.atomic"}


class AtomicBackend(LocalBackend):
    """The local disk; a file is complete, and on the disk, before it gets its name."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write a file."""
        write_atomic(filepath, bytes(obj), sync=True)


register_backend(ATOMIC["backend"], AtomicBackend, force=True)
