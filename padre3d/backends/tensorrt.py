"""TensorRT engines: profile, build on any machine for TensorRT-RTX, run with CUDA.

The file's types are the engine's types (strong typing, the only way from TensorRT 11 on), so there
are no precision flags here. Full TensorRT 10 and 11 and TensorRT-RTX share one interface.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.backends.base import Arrays, BackendError, Loaded, Options, require, taken
from padre3d.backends.tensorrt_profile import Profile
from padre3d.io.files import write_atomic

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
TRTEXEC = {"tensorrt": "trtexec", "tensorrt-rtx": "tensorrt_rtx"}


def build_engine(backend: str, path: Path, profile: Profile) -> bytes:
    """Parse an ONNX file and build its engine.

    Args:
        backend: "tensorrt" or "tensorrt-rtx".
        path: the ONNX file.
        profile: of the symbols in its inputs' shapes.

    Raises:
        BackendError: if the module is missing or there is no GPU where one is needed.
        ValueError: if the file does not parse or build; the parser's or builder's messages follow.
    """
    trt = require(backend, MODULES[backend], backend)
    log = _collector(trt)
    try:
        builder = trt.Builder(log)
    except (TypeError, RuntimeError) as error:
        raise BackendError(f"backend {backend!r}: expected a CUDA device, got {error}") from error
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(path.read_bytes()):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise ValueError(f"{path}: {backend} does not parse it: {'; '.join(errors)}")
    config = builder.create_builder_config()
    shapes = _input_shapes(backend, path)
    added = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        name = network.get_input(i).name
        added.set_shape(name, *profile.shapes(shapes[name]))
    config.add_optimization_profile(added)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ValueError(f"{path}: {backend} does not build it: {'; '.join(log.errors)}")
    return bytes(engine)


def command_line(backend: str, path: Path, engine: Path, profile: Profile) -> str:
    """The trtexec call that builds the same engine, quoted for a shell."""
    inputs = _input_shapes(backend, path)
    shapes = {name: profile.shapes(shape) for name, shape in inputs.items()}
    words = [TRTEXEC[backend], f"--onnx={path}", f"--saveEngine={engine}"]
    words += ["--stronglyTyped"] if backend == "tensorrt" else []
    # It refuses shapes for a model in which all of them are fixed.
    if not any(isinstance(axis, str) for shape in inputs.values() for axis in shape):
        return shlex.join(words)
    for i, option in enumerate(("minShapes", "optShapes", "maxShapes")):
        values = (f"{n}:{'x'.join(map(str, s[i]))}" for n, s in shapes.items())
        words.append(f"--{option}={','.join(values)}")
    return shlex.join(words)


def engine_path(backend: str, path: Path, profile: Profile, folder: Path | None = None) -> Path:
    """Where an engine is kept: its name holds all that it depends on but the GPU."""
    trt = require(backend, MODULES[backend], backend)
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    numbers = "-".join(map(str, profile.pillars))
    folder = folder or path.parent / "engines"
    return folder / f"{path.stem}-{content}-{backend}-{trt.__version__}-{numbers}.engine"


def loader(backend: str) -> Callable[[Path, Options], Loaded]:
    """A loader of engines of "tensorrt" or "tensorrt-rtx"."""

    def load(path: Path, options: Options) -> Loaded:
        return load_engine(backend, path, options)

    return load


def load_engine(backend: str, path: Path, options: Options) -> Loaded:
    """Open the cached engine of a model file, the one with the largest profile, or build it.

    Raises:
        BackendError: without the module, CUDA or a GPU.
    """
    trt = require(backend, MODULES[backend], backend)
    cuda = require(backend, "cuda.bindings.runtime", f"{backend} cuda-python")
    status, count = cuda.cudaGetDeviceCount()
    if int(status) != 0 or count == 0:
        raise BackendError(f"backend {backend!r}: expected a CUDA device, got none ({status})")
    default = Profile()
    wanted = engine_path(backend, path, default, options.cache)
    same = wanted.name.removesuffix("-".join(map(str, default.pillars)) + ".engine")
    kept = [p for p in wanted.parent.glob("*.engine") if re.fullmatch(_name_of(same), p.name)]
    if not kept:
        write_atomic(wanted, build_engine(backend, path, default))
        kept = [wanted]
    largest = max(kept, key=lambda p: _numbers(p)[2])
    engine = trt.Runtime(_collector(trt)).deserialize_cuda_engine(largest.read_bytes())
    if engine is None:
        raise ValueError(f"{largest}: expected an engine for this GPU; delete it to build anew")
    low, _, high = _numbers(largest)
    running = DeviceEngine(trt, cuda, engine, path)
    return Loaded(running, (low, high), running.close)


class DeviceEngine:
    """Runs an engine: inputs to the device, execution, outputs back.

    It holds a stream and a buffer for each tensor on the device, until :meth:`close`, the end of a
    ``with`` block, or its own end.

    Args:
        trt: the TensorRT module.
        cuda: ``cuda.bindings.runtime``.
        engine: the deserialised engine.
        path: of the model, for errors.
    """

    def __init__(self, trt: Any, cuda: Any, engine: Any, path: Path) -> None:
        self.trt, self.cuda, self.engine, self.path = trt, cuda, engine, path
        self.buffers: dict[str, tuple[int, int]] = {}
        self.stream: Any = None
        # One context and one buffer for each tensor: calls from several threads take turns.
        self.lock = threading.Lock()
        self.context = engine.create_execution_context()
        self.stream = self.call("cudaStreamCreate")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = {n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT}
        self.inputs = [n for n in names if n in inputs]
        self.outputs = [n for n in names if n not in inputs]

    def __enter__(self) -> DeviceEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # At the interpreter's end the modules may be gone already, and the device with them.
        with contextlib.suppress(Exception):
            self.close()

    def close(self) -> None:
        """Free buffers, stream and engine; a second call does nothing."""
        buffers, stream = getattr(self, "buffers", {}), getattr(self, "stream", None)
        self.buffers, self.stream, self.context, self.engine = {}, None, None, None
        with contextlib.ExitStack() as freed:
            if stream is not None:
                freed.callback(self.call, "cudaStreamDestroy", stream)
            for address, _ in buffers.values():
                freed.callback(self.call, "cudaFree", address)

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Inputs by name to outputs by name.

        Raises:
            ValueError: if an input is missing or outside of the profile, or the engine is closed.
            RuntimeError: if CUDA or TensorRT fails.
        """
        with self.lock:
            return self._run(arrays)

    def _run(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        if self.context is None:
            raise ValueError(f"{self.path}: expected an open engine, got one that was closed")
        down = self.cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        up = self.cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        given = taken(arrays, self.inputs, self.path)
        held = {name: np.ascontiguousarray(array) for name, array in given.items()}
        for name, array in held.items():
            if not self.context.set_input_shape(name, array.shape):
                raise ValueError(
                    f"{self.path}: expected inputs that the engine was built for, got {name} "
                    f"{array.shape}; build another one with tools/build_engine.py"
                )
            address = self.address(name, array.nbytes)
            self.call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, up, self.stream)
        results = {}
        for name in self.outputs:
            shape = tuple(self.context.get_tensor_shape(name))
            dtype = np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name)))
            results[name] = np.empty(shape, dtype)
            self.address(name, results[name].nbytes)
        if not self.context.execute_async_v3(self.stream):
            raise RuntimeError("TensorRT: the engine did not run; its log has the reason")
        for name, array in results.items():
            address = self.buffers[name][0]
            self.call(
                "cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, down, self.stream
            )
        self.call("cudaStreamSynchronize", self.stream)
        return results

    def address(self, name: str, size: int) -> int:
        """Device memory of a tensor, grown when it must be."""
        address, held = self.buffers.get(name, (0, 0))
        if held < size:
            if self.buffers.pop(name, None):
                self.call("cudaFree", address)
            address = self.call("cudaMalloc", size)
            self.buffers[name] = address, size
        self.context.set_tensor_address(name, int(address))
        return address

    def call(self, function: str, *args: Any) -> Any:
        """A CUDA call; its error is an exception."""
        status, *result = getattr(self.cuda, function)(*args)
        if int(status) != 0:
            raise RuntimeError(f"{function}: {status}")
        return result[0] if result else None


def _collector(trt: Any) -> Any:
    """A logger that keeps errors, so that they can be part of an exception."""

    class Collector(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Collector()


def _input_shapes(backend: str, path: Path) -> dict[str, list[int | str]]:
    onnx = require(backend, "onnx", "onnx")
    graph = onnx.load(str(path), load_external_data=False).graph
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in graph.input
    }


def _name_of(stem: str) -> str:
    """The pattern of an engine's name, whatever its profile."""
    return re.escape(stem) + r"\d+-\d+-\d+\.engine"


def _numbers(path: Path) -> tuple[int, int, int]:
    """The profile in an engine's name."""
    low, opt, high = map(int, path.stem.split("-")[-3:])
    return low, opt, high
