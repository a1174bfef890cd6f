"""Transposed convolutions whose kernel is their stride, as 1 x 1 convolutions and a reordering.

Every output cell then depends on one input cell: the same numbers, in an operator that CPUs run in
8 bit, which they do not a ConvTranspose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def as_convolutions(model: ModelProto) -> ModelProto:
    """Rewrite, in place, the transposed convolutions of maps (1, C, H, W) of known size.

    Others, with overlap, padding, groups or dilation, stay.
    """
    import onnx

    shapes = _shapes(onnx.shape_inference.infer_shapes(model))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        size = shapes.get(node.input[0]) if node.op_type == "ConvTranspose" else None
        weight = constants.get(node.input[1]) if size else None
        if size is None or weight is None or not _without_overlap(node, list(weight.dims)):
            nodes.append(node)
            continue
        biases = [constants[name] for name in node.input[2:] if name]
        nodes += _rewritten(model, node, weight, biases, size)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """Shapes (1, C, H, W) of all maps whose size is known."""
    found = {}
    for value in (*model.graph.input, *model.graph.value_info):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if len(dims) == 4 and dims[0] == 1 and all(dims):
            found[value.name] = dims
    return found


def _without_overlap(node: NodeProto, weight: list[int]) -> bool:
    from onnx import helper

    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rank = len(weight) - 2
    return (
        rank == 2
        and said.get("group", 1) == 1
        and said.get("auto_pad", b"NOTSET") == b"NOTSET"
        and list(said.get("strides", [1] * rank)) == weight[2:]
        and not any((*said.get("pads", ()), *said.get("output_padding", ())))
        and set(said.get("dilations", [1])) == {1}
        and "output_shape" not in said
    )


def _rewritten(
    model: ModelProto, node: NodeProto, weight: Any, biases: list[Any], size: list[int]
) -> list[NodeProto]:
    """A 1 x 1 convolution to all cells of an input cell, and the nodes that put them in place."""
    from onnx import helper, numpy_helper

    def constant(name: str, value: np.ndarray) -> str:
        model.graph.initializer.append(numpy_helper.from_array(value, f"{node.output[0]}//{name}"))
        return f"{node.output[0]}//{name}"

    kernel = numpy_helper.to_array(weight)
    channels, k_y, k_x = kernel.shape[1:]
    flat = np.ascontiguousarray(kernel.reshape(len(kernel), -1).T)[:, :, None, None]
    inputs = [node.input[0], constant("weight", flat)]
    for bias in biases:
        inputs.append(constant("bias", np.repeat(numpy_helper.to_array(bias), k_y * k_x)))
    out = node.output[0]
    if k_y == k_x == 1:
        return [helper.make_node("Conv", inputs, [out], node.name)]
    height, width = size[2:]
    apart = np.array([1, channels, k_y, k_x, height, width])
    whole = np.array([1, channels, height * k_y, width * k_x])
    cells, split, moved = (f"{out}//{step}" for step in ("cells", "split", "moved"))
    return [
        helper.make_node("Conv", inputs, [cells], node.name),
        helper.make_node(
            "Reshape", [cells, constant("apart", apart)], [split], f"{node.name}/split"
        ),
        helper.make_node(
            "Transpose", [split], [moved], f"{node.name}/moved", perm=[0, 1, 4, 2, 5, 3]
        ),
        helper.make_node("Reshape", [moved, constant("whole", whole)], [out], f"{node.name}/whole"),
    ]
