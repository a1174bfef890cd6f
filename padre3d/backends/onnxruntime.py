"""Models in onnxruntime, on the CPU or one of its other execution providers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from padre3d.backends.base import (
    Arrays,
    BackendError,
    Loaded,
    Options,
    Run,
    one_line,
    require,
    taken,
)


def loader(provider: str, backend: str, package: str) -> Callable[[Path, Options], Loaded]:
    """A loader of models for one execution provider."""

    def load(path: Path, options: Options) -> Loaded:
        """A session that runs with the provider, or an error."""
        ort = require(backend, "onnxruntime", package)
        if provider not in ort.get_available_providers():
            raise BackendError(
                f"backend {backend!r}: expected an onnxruntime with {provider}, this one has "
                f"{', '.join(ort.get_available_providers())}; pip install {package}"
            )
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        if options.threads:
            settings.intra_op_num_threads = options.threads
        provider_options: dict[str, str] = {}
        if provider == "TensorrtExecutionProvider":
            cache = engine_folder(path, options.cache)
            cache.mkdir(parents=True, exist_ok=True)
            provider_options = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
        session = open_session(ort, path, settings, [(provider, provider_options)])
        # onnxruntime itself goes on with the CPU if a provider's libraries do not load.
        if session.get_providers()[0] != provider:
            raise BackendError(
                f"backend {backend!r}: expected {provider} to start, onnxruntime fell back to "
                f"{session.get_providers()[0]}: no device, or its libraries are missing"
            )
        return Loaded(runner(session, path))

    return load


def engine_folder(path: Path, cache: Path | None) -> Path:
    """Where onnxruntime keeps TensorRT's engines of a model: a folder for its contents.

    onnxruntime names an engine after the graph, not after its weights.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return (cache or path.parent / "engines") / f"{path.stem}-{content}-onnxruntime"


def open_session(ort: ModuleType, path: Path, settings: Any, providers: list | None = None) -> Any:
    """A session, or a ValueError that names the file."""
    try:
        return ort.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        raise ValueError(
            f"{path}: expected an ONNX model that loads, got {one_line(error)}"
        ) from error


def runner(session: Any, path: Path) -> Run:
    """Inputs by name to outputs by name, or a ValueError that names the file."""
    outputs = [output.name for output in session.get_outputs()]
    inputs = [value.name for value in session.get_inputs()]

    def run(arrays: Mapping[str, np.ndarray]) -> Arrays:
        given = taken(arrays, inputs, path)
        try:
            results = session.run(outputs, given)
        except Exception as error:  # onnxruntime's own exceptions share no public base class
            shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
            raise ValueError(
                f"{path}: expected a model that takes {shapes}, got {one_line(error)}"
            ) from error
        return dict(zip(outputs, results, strict=True))

    return run
