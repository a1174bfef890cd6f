"""What is constant is computed beforehand: parts of weights, scales and shifts per channel.

The exporter folds the batch norms behind 2-D convolutions itself. It leaves those behind linear
layers, whose batch norm is a product and a sum, biases that it adds behind a convolution, and parts
of large weights, such as the query's part of an attention's input weights: a quantiser takes them
for activations, and NPUs refuse the layer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LINEAR = ("Gemm", "Conv")


def fold_constants(model: ModelProto) -> None:
    """Replace every node that reads constants alone by its result, unless that is larger."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in list(graph.node):
        names = [name for name in node.input if name]
        if not names or any(name not in values for name in names):
            continue
        inputs = {name: values[name] for name in names}
        results: Any = ReferenceEvaluator(node).run(None, inputs)
        if sum(r.nbytes for r in results) > sum(v.nbytes for v in inputs.values()):
            continue
        for name, value in zip(node.output, map(np.asarray, results), strict=True):
            values[name] = value
            graph.initializer.append(numpy_helper.from_array(value, name))
        graph.node.remove(node)


def fold_affine(model: ModelProto) -> None:
    """Fold every Mul and Add of one constant per channel into the Gemm or Conv before it."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    producer = {node.output[0]: node for node in graph.node}
    for node in list(graph.node):
        if node.op_type not in ("Mul", "Add") or len(node.input) != 2:
            continue
        for name, other in (node.input, reversed(node.input)):
            layer = producer.get(name)
            if layer is None or other not in constants or readers[name] != 1:
                continue
            if _fold(model, layer, node, constants, readers, other):
                layer.output[0] = node.output[0]
                producer[node.output[0]] = layer
                graph.node.remove(node)
                break


def _fold(
    model: ModelProto,
    layer: NodeProto,
    node: NodeProto,
    constants: dict[str, Any],
    readers: Counter[str],
    name: str,
) -> bool:
    """Change the layer's weights so that it does what the node does to its result, if possible."""
    from onnx import numpy_helper

    own = [parameter for parameter in layer.input[1:] if parameter]
    if layer.op_type not in LINEAR or not _is_plain(layer):
        return False
    if any(parameter not in constants or readers[parameter] != 1 for parameter in own):
        return False
    weight = numpy_helper.to_array(constants[own[0]])
    is_conv = layer.op_type == "Conv"
    axis = 0 if is_conv or _attribute(layer, "transB", 0) else 1
    shape = (weight.shape[axis], *(1,) * (weight.ndim - 2 if is_conv else 0))
    value = _per_channel(numpy_helper.to_array(constants[name]), shape)
    if value is None:
        return False
    bias = numpy_helper.to_array(constants[own[1]]) if len(own) > 1 else np.zeros(len(value))
    if bias.shape != value.shape:
        return False
    if node.op_type == "Mul":
        along = [-1 if i == axis else 1 for i in range(weight.ndim)]
        _set(constants[own[0]], weight * value.reshape(along))
        bias = bias * value
    else:
        bias = bias + value
    if len(own) > 1:
        _set(constants[own[1]], bias)
        return True
    tensor = numpy_helper.from_array(bias.astype(np.float32), f"{layer.output[0]}_bias")
    model.graph.initializer.append(tensor)
    constants[tensor.name] = model.graph.initializer[-1]
    readers[tensor.name] = 1
    layer.input[:] = [*layer.input[:2], tensor.name]
    return True


def _is_plain(layer: NodeProto) -> bool:
    return all(_attribute(layer, name, 1.0) == 1.0 for name in ("alpha", "beta"))


def _attribute(layer: NodeProto, name: str, default: float) -> float:
    found = [a for a in layer.attribute if a.name == name]
    return (found[0].i or found[0].f) if found else default


def _per_channel(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The constant as (channels,) in double precision, None if it varies along anything else."""
    if value.dtype != np.float32 or value.shape not in (shape, ()):
        return None
    return np.broadcast_to(value, shape).reshape(-1).astype(np.float64)


def _set(tensor: Any, value: np.ndarray) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
