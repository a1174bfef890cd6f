"""What runs the graph, by name. A backend that is absent is an error, never another backend.

| name | runs on | package |
|---|---|---|
| onnxruntime | CPU | onnxruntime |
| onnxruntime-cuda | CUDA | onnxruntime-gpu |
| onnxruntime-tensorrt | TensorRT inside onnxruntime | onnxruntime-gpu, tensorrt |
| openvino | CPU | openvino |
| openvino-bf16 | CPU with bfloat16 | openvino |
| tensorrt | an engine of the full TensorRT | tensorrt, cuda-python |
| tensorrt-rtx | an engine of TensorRT for RTX | tensorrt-rtx, cuda-python |
| qnn | HTP (NPU), or its emulator on x86-64 | onnxruntime-qnn |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from padre3d.backends import onnxruntime, openvino, qnn, tensorrt
from padre3d.backends.base import Loaded, Options

Loader = Callable[[Path, Options], Loaded]
DEFAULT = "onnxruntime"


def load_model(name: str, path: Path, options: Options) -> Loaded:
    """Open a model file.

    Raises:
        ValueError: if there is no backend of that name, or the file is no model it can read.
        BackendError: if the backend is not installed, or has no device.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return BACKENDS[name](path, options)


BACKENDS: dict[str, Loader] = {
    "onnxruntime": onnxruntime.loader("CPUExecutionProvider", "onnxruntime", "onnxruntime"),
    "onnxruntime-cuda": onnxruntime.loader(
        "CUDAExecutionProvider", "onnxruntime-cuda", "onnxruntime-gpu"
    ),
    "onnxruntime-tensorrt": onnxruntime.loader(
        "TensorrtExecutionProvider", "onnxruntime-tensorrt", "onnxruntime-gpu tensorrt"
    ),
    "openvino": openvino.loader("f32", "openvino"),
    "openvino-bf16": openvino.loader("bf16", "openvino-bf16"),
    "tensorrt": tensorrt.loader("tensorrt"),
    "tensorrt-rtx": tensorrt.loader("tensorrt-rtx"),
    "qnn": qnn.load,
}
