"""From the fp32 file to the file of another precision, in place.

The types stand in the file (TensorRT 11 has no other way): casts are written where they change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padre3d.backends.base import Arrays
from padre3d.export.onnx_model import check_operators, float_tensors, wide_tensors

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PRECISIONS = ("fp32", "fp16", "int8-trt", "int8-cpu", "int8-qnn")
# Sums of squares and exponentials overflow or lose their tail in 16 bit. Their results go on in it.
ISLANDS = {"LayerNormalization", "Softmax"}


def convert(path: Path, precision: str, calibration: Sequence[Arrays]) -> list[dict[str, Any]]:
    """Replace a model file by one of another precision.

    Args:
        path: the fp32 file.
        precision: one of :data:`PRECISIONS`.
        calibration: inputs of the calibration frames; read for 8 bit only.

    Returns:
        The error of each layer that was quantised, worst first; nothing for 32 and 16 bit.
    """
    import onnx

    if precision == "fp32":
        return []
    errors: list[dict[str, Any]] = []
    if precision == "fp16":
        model = to_half(onnx.load(str(path)))
    else:
        from padre3d.export.quantize import quantize

        model, errors = quantize(path, precision, calibration)
        if precision == "int8-trt":
            model = to_half(model)
    check_operators(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return errors


def to_half(model: ModelProto) -> ModelProto:
    """The model with 16-bit arithmetic where that is safe; inputs and outputs stay 32-bit.

    In 32 bit stay: the insides of normalisation and softmax, what chooses the proposals (ties in
    16 bit would change their order), box positions, and layers between quantisation nodes.
    """
    import onnx

    floats = float_tensors(model)
    wide = wide_tensors(model, floats)
    half = _Half(model, floats)
    for node in model.graph.node:
        half.add(node, _wants_half(node, wide))
    half.finish()
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


class _Half:
    """Rewrites the nodes one after the other; remembers which tensors are in 16 bit."""

    def __init__(self, model: ModelProto, floats: set[str]) -> None:
        self.model, self.floats = model, floats
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.half: set[str] = set()
        self.made: dict[tuple[str, bool], str] = {}
        self.nodes: list[NodeProto] = []

    def add(self, node: NodeProto, want: bool) -> None:
        for i, name in enumerate(node.input):
            if name in self.floats:
                node.input[i] = self.cast(name, want)
        self.nodes.append(node)
        results = [name for name in node.output if name in self.floats]
        if node.op_type == "Cast" and results:
            node.attribute[0].i = 10 if want else 1
        if want:
            self.half.update(results)
        elif node.op_type in ISLANDS:
            for name in results:
                self.narrow(node, name)

    def narrow(self, node: NodeProto, name: str) -> None:
        """Let the result of fp32 operators go on in 16 bit."""
        wide = f"{name}_f32"
        node.output[list(node.output).index(name)] = wide
        self.cast_node(wide, name, True)
        self.half.add(name)
        self.made[name, False] = wide

    def cast(self, name: str, want: bool) -> str:
        """Name of the tensor in the wanted type, made on first use."""
        if (name in self.half) == want:
            return name
        if (name, want) not in self.made:
            target = f"{name}_{'f16' if want else 'f32'}"
            if name in self.constants:
                self.constant(name, target)
            else:
                self.cast_node(name, target, want)
            self.made[name, want] = target
        return self.made[name, want]

    def constant(self, name: str, target: str) -> None:
        from onnx import numpy_helper

        values = numpy_helper.to_array(self.constants[name])
        limit = np.finfo(np.float16).max
        narrowed = np.clip(values, -limit, limit).astype(np.float16)
        self.model.graph.initializer.append(numpy_helper.from_array(narrowed, target))

    def cast_node(self, source: str, target: str, want: bool) -> None:
        from onnx import helper

        self.nodes.append(
            helper.make_node("Cast", [source], [target], f"cast/{target}", to=10 if want else 1)
        )

    def finish(self) -> None:
        """Outputs back to 32 bit; constants without a reader go."""
        graph = self.model.graph
        for output in graph.output:
            if output.name in self.half:
                inner = f"{output.name}_f16"
                for node in self.nodes:
                    for names in (node.input, node.output):
                        for i, name in enumerate(names):
                            if name == output.name:
                                names[i] = inner
                self.cast_node(inner, output.name, False)
        del graph.node[:]
        graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _wants_half(node: NodeProto, wide: set[str]) -> bool:
    return node.op_type not in ISLANDS and not set(node.output) & wide
