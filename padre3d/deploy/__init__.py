"""A trained detector outside of torch.

| step | file |
|---|---|
| the trained modules as a graph of tensors | graph.py |
| ONNX file, operators checked | onnx.py |
| 16 and 8 bit, with the error of every layer | precision.py, quantize.py, layer_errors.py |
| torch against ONNX, by value | parity.py |
| export, compare, keep: models, tables.npz, manifest.json | export.py, tables.py, manifest.py |
| points to boxes without torch | runtime.py: points.py, layouts.py, backends.py, decode.py |
| TensorRT engines, NPUs | tensorrt.py, qnn.py |

Importing this package, and :class:`Runtime`, needs numpy alone.
"""

from padre3d.backends.base import BackendError
from padre3d.backends.registry import BACKENDS
from padre3d.runtime.runtime import FrameReport, Runtime
from padre3d.runtime.sweep_buffer import SweepBuffer

__all__ = ["BACKENDS", "BackendError", "FrameReport", "Runtime", "SweepBuffer"]
