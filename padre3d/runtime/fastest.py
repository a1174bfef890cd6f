"""Which of the installed backends runs a folder fastest on this machine, by a short trial.

The answer is kept in ``~/.cache/padre3d/backends.json`` (``XDG_CACHE_HOME`` moves it) under the
files, the versions, the processor and the number of threads that it holds for. Where that file
cannot be written, every start tries anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from padre3d.backends.base import BackendError
from padre3d.io.files import write_atomic

logger = logging.getLogger(__name__)

# TensorRT inside onnxruntime is left out: it would build for minutes.
CANDIDATES = ("onnxruntime", "openvino", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx")
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx")
# What a backend may raise that is installed and does not run here: CUDA's errors are RuntimeErrors.
UNUSABLE = (RuntimeError, ValueError, OSError, ImportError)
DEVICES = ("nvidia[0-9]*", "nvhost-gpu", "nvgpu", "dri/renderD*")
TRIAL_PILLARS = 8192
RUNS = 3


def fastest_backend(
    timers: Mapping[str, Callable[[], float]],
    sums: Mapping[str, str],
    threads: int | None,
    anew: bool = False,
) -> str:
    """The name of the fastest of several backends, remembered or tried.

    Args:
        timers: by backend's name, what opens it and returns the seconds of a frame; one that is
            missing or has no device raises.
        sums: checksums of the folder's files.
        threads: as of the runtime.
        anew: try them all, whatever is remembered.

    Raises:
        BackendError: if none can be used, with the reason of each.
    """
    path, key = _cache_file(), _key(sums, threads)
    known = _read(path)
    remembered = known.get(key)
    if isinstance(remembered, str) and remembered in timers and not anew:
        logger.info("backend auto: %s, as measured before (%s)", remembered, path)
        return remembered
    seconds, reasons = {}, []
    for name, timer in timers.items():
        try:
            seconds[name] = timer()
        except UNUSABLE as error:
            reasons.append(f"{name}: {error}")
    if not seconds:
        raise BackendError(f"backend 'auto': expected one that runs, got {'; '.join(reasons)}")
    best = min(seconds, key=lambda name: seconds[name])
    said = ", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in seconds.items())
    logger.info("backend auto: %s (%s of a frame's graph)", best, said)
    if path is not None:
        try:
            write_atomic(path, json.dumps({**known, key: best}, indent=1) + "\n")
        except OSError as error:
            logger.info("backend auto: %s: not kept, %s", path, error)
    return best


def fastest_run(run: Callable[[], Any]) -> float:
    """Seconds of the fastest of a few runs after one to warm up."""
    run()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _cache_file() -> Path | None:
    """None for a user without a home directory, as containers have them."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(base) / "padre3d" / "backends.json"


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _processor() -> list[str]:
    """Name and instruction sets: one home directory may serve several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    kinds = ("model name", "flags", "Features", "CPU part")
    return sorted({line for line in lines if line.startswith(kinds)})


def _devices() -> list[str]:
    """Accelerators that this process may use: containers with and without one share a home."""
    found = [str(path) for name in DEVICES for path in Path("/dev").glob(name)]
    return [*sorted(found), os.environ.get("CUDA_VISIBLE_DEVICES", "all")]


def _key(sums: Mapping[str, str], threads: int | None) -> str:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    machine = [_processor(), os.cpu_count(), _devices()]
    text = json.dumps([sorted(sums.items()), versions, *machine, threads])
    return hashlib.sha256(text.encode()).hexdigest()[:20]
