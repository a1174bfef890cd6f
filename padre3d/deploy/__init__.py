"""A trained detector outside of torch: the public door.

| step | module |
|---|---|
| the trained modules as a graph of tensors | padre3d.export.graph |
| ONNX file, operators checked | padre3d.export.onnx_model |
| 16 and 8 bit, with the error of every layer | padre3d.export: precision, quantize, layer_errors |
| torch against ONNX, by value | padre3d.export.parity |
| export, compare, keep: models, tables.npz, manifest.json | padre3d.export.export |
| the folder, validated when it is read | padre3d.runtime: manifest, tables, folder |
| points to boxes without torch | padre3d.runtime: pillar_encoder, token_layouts, decode |
| what runs the graph: onnxruntime, OpenVINO, TensorRT, NPUs | padre3d.backends |

Importing this package, and :class:`Runtime`, needs numpy and msgspec alone.
"""

from padre3d.backends.base import BackendError
from padre3d.backends.registry import BACKENDS
from padre3d.runtime.runtime import FrameReport, Runtime
from padre3d.runtime.sweep_buffer import SweepBuffer

__all__ = ["BACKENDS", "BackendError", "FrameReport", "Runtime", "SweepBuffer"]
