"""Where and with what a run was made: commit, device, torch version."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path


def commit(root: Path, written: Sequence[Path] = ()) -> tuple[str | None, bool]:
    """HEAD, and whether tracked files differ from it.

    Args:
        root: the repository.
        written: files that the study itself writes; changes in them do not count.

    Returns:
        The commit (None outside of a repository) and the flag.
    """
    head = _output(["git", "rev-parse", "HEAD"], root)
    if head is None:
        return None, False
    inside = [path.resolve() for path in written if path.resolve().is_relative_to(root.resolve())]
    excluded = [f":(exclude){path.relative_to(root.resolve())}" for path in inside]
    changed = _output(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *excluded], root
    )
    return head, bool(changed)


def short_commit(head: str | None, dirty: bool) -> str:
    """Seven digits, ``?`` without a repository, and a ``+`` where tracked files differed."""
    return (head or "?")[:7] + "+" * dirty


@functools.cache
def device_name(visible: str | None) -> str:
    """Name of the first visible GPU, else the CPU's model.

    Args:
        visible: the value of CUDA_VISIBLE_DEVICES, None if it is not set.
    """
    if visible is None or visible not in ("", "-1"):
        selected = ["-i", visible.split(",")[0]] if visible else []
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", *selected]
        names = _output(query, Path.cwd())
        if names:
            return names.splitlines()[0]
    return cpu_model()


def torch_version() -> str | None:
    """Version of the installed torch, which is not imported for it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Name of the processor, as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    # Arm kernels give no model name in /proc/cpuinfo; lscpu knows the part numbers.
    for line in (_output(["lscpu"], Path.cwd()) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Model name" and value.strip(" -"):
            return value.strip()
    return platform.processor() or platform.machine()


def _output(command: list[str], cwd: Path) -> str | None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
