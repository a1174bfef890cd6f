"""What runs the graph, by name. A backend that is absent is an error, never another backend.

| name | runs on | package |
|---|---|---|
| onnxruntime | CPU | onnxruntime |
| onnxruntime-cuda | CUDA | onnxruntime-gpu |
| onnxruntime-tensorrt | TensorRT inside onnxruntime | onnxruntime-gpu, tensorrt |
| openvino | CPU | openvino |
| tensorrt | an engine of the full TensorRT | tensorrt, cuda-python |
| tensorrt-rtx | an engine of TensorRT for RTX | tensorrt-rtx, cuda-python |
| qnn | HTP (NPU), or its emulator on x86-64 | onnxruntime-qnn |
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[Mapping[str, np.ndarray]], Arrays]
DEFAULT = "onnxruntime"


class BackendError(RuntimeError):
    """The backend asked for cannot be used here; the message says what is missing."""


@dataclass(frozen=True)
class Options:
    """Settings of a backend.

    Attributes:
        threads: on the CPU; None leaves it to the backend.
        cache: folder for engines, None for ``engines`` beside the model.
        qnn: options of the QNN execution provider that replace the defaults.
    """

    threads: int | None = None
    cache: Path | None = None
    qnn: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Loaded:
    """A model ready to run.

    Attributes:
        run: inputs by name to outputs by name.
        limits: least and most pillars that it takes, None for no limit of its own.
    """

    run: Run
    limits: tuple[int, int] | None = None


def load_model(name: str, path: Path, options: Options) -> Loaded:
    """Open a model file.

    Raises:
        ValueError: if there is no backend of that name, or the file is no model it can read.
        BackendError: if the backend is not installed, or has no device.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return BACKENDS[name](path, options)


def require(backend: str, module: str, package: str) -> ModuleType:
    """Import a backend's module.

    Raises:
        BackendError: says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(
            f"backend {backend!r}: expected the module {module}, found none ({error}); "
            f"pip install {package}"
        ) from error


def _onnxruntime(provider: str, backend: str, package: str) -> Callable[[Path, Options], Loaded]:
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
            cache = options.cache or path.parent / "engines"
            cache.mkdir(exist_ok=True)
            provider_options = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
        session = _session(ort, path, settings, [(provider, provider_options)])
        # onnxruntime itself goes on with the CPU if a provider's libraries do not load.
        if session.get_providers()[0] != provider:
            raise BackendError(
                f"backend {backend!r}: expected {provider} to start, onnxruntime fell back to "
                f"{session.get_providers()[0]}: no device, or its libraries are missing"
            )
        return Loaded(_runner(session))

    return load


def _session(ort: ModuleType, path: Path, settings: Any, providers: list | None = None) -> Any:
    try:
        return ort.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        raise ValueError(f"{path}: expected an ONNX model that loads, got {error}") from error


def _runner(session: Any) -> Run:
    names = [output.name for output in session.get_outputs()]
    wanted = [value.name for value in session.get_inputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> Arrays:
        return dict(zip(names, session.run(names, {n: inputs[n] for n in wanted}), strict=True))

    return run


def _openvino(path: Path, options: Options) -> Loaded:
    openvino = require("openvino", "openvino", "openvino")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    try:
        model = openvino.Core().compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise ValueError(f"{path}: expected an ONNX model that loads, got {error}") from error
    inputs = [port.get_any_name() for port in model.inputs]
    outputs = [port.get_any_name() for port in model.outputs]

    def run(arrays: Mapping[str, np.ndarray]) -> Arrays:
        found = model({name: arrays[name] for name in inputs})
        return {name: np.array(found[name]) for name in outputs}

    return Loaded(run)


def _tensorrt(backend: str) -> Callable[[Path, Options], Loaded]:
    def load(path: Path, options: Options) -> Loaded:
        from padre3d.deploy.tensorrt import load_engine

        return load_engine(backend, path, options)

    return load


def _qnn(path: Path, options: Options) -> Loaded:
    from padre3d.deploy.qnn import open_session

    return Loaded(_runner(open_session(path, options)))


BACKENDS: dict[str, Callable[[Path, Options], Loaded]] = {
    "onnxruntime": _onnxruntime("CPUExecutionProvider", "onnxruntime", "onnxruntime"),
    "onnxruntime-cuda": _onnxruntime(
        "CUDAExecutionProvider", "onnxruntime-cuda", "onnxruntime-gpu"
    ),
    "onnxruntime-tensorrt": _onnxruntime(
        "TensorrtExecutionProvider", "onnxruntime-tensorrt", "onnxruntime-gpu tensorrt"
    ),
    "openvino": _openvino,
    "tensorrt": _tensorrt("tensorrt"),
    "tensorrt-rtx": _tensorrt("tensorrt-rtx"),
    "qnn": _qnn,
}
