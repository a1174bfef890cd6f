"""Which layers lose what in 8 bit, measured in one graph that holds all of it.

Beside the exact graph stand the quantised one (how far off is a layer when all are rounded?) and,
for each quantised layer alone, a copy that reads the exact tensors through its own rounding (how
much of it is the layer's own?). Only sums of squares leave the graph.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from padre3d.backends.base import Arrays
from padre3d.export.onnx_model import float_tensors

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SHOWN = 15
TOTAL, OWN = "total//", "own//"


def layer_errors(
    reference: ModelProto, quantised: ModelProto, frames: Sequence[Arrays]
) -> list[dict[str, Any]]:
    """Relative RMS of each layer that reads a DequantizeLinear, worst own error first.

    Args:
        reference: the fp32 model.
        quantised: the same with QuantizeLinear and DequantizeLinear nodes between.
        frames: inputs by name.

    Returns:
        ``{"layer", "operator", "own", "total"}`` for each.
    """
    import onnxruntime as ort

    model, layers = _combined(reference, quantised)
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    taken = {value.name for value in session.get_inputs()}
    sums: dict[str, float] = dict.fromkeys(names, 0.0)
    for frame in frames:
        feed = {name: value for name, value in frame.items() if name in taken}
        for name, value in zip(names, session.run(names, feed), strict=True):
            sums[name] += float(value)
    errors = []
    for node in layers:
        name = node.output[0]
        size = sums[f"{name}//square"]
        own, total = (_ratio(sums[f"{prefix}{name}//square"], size) for prefix in (OWN, TOTAL))
        errors.append({"layer": node.name, "operator": node.op_type, "own": own, "total": total})
    return sorted(errors, key=lambda error: -error["own"])


def layer_table(errors: Sequence[Mapping[str, Any]]) -> object:
    """The worst layers as a table for a rich console."""
    from rich.table import Table

    table = Table(title=f"the {SHOWN} layers of {len(errors)} that lose most, relative RMS")
    for column in ("layer", "operator", "by itself", "in the whole", "bits"):
        table.add_column(column)
    for error in errors[:SHOWN]:
        table.add_row(
            error["layer"],
            error["operator"],
            f"{error['own']:.1e}",
            f"{error['total']:.1e}",
            str(error["bits"]),
        )
    return table


def _ratio(error: float, size: float) -> float:
    return float(np.sqrt(error / size)) if size else 0.0


def _combined(reference: ModelProto, quantised: ModelProto) -> tuple[ModelProto, list[NodeProto]]:
    """The exact, the quantised and the single layers in one model; and the layers."""
    inputs = {value.name for value in reference.graph.input}
    model = copy.deepcopy(reference)
    for opset in quantised.opset_import:
        if opset.domain not in {known.domain for known in model.opset_import}:
            model.opset_import.append(opset)
    del model.graph.output[:]
    del model.graph.value_info[:]
    floats = float_tensors(reference)
    exact = {name for node in reference.graph.node for name in node.output}
    producer = {name: node for node in quantised.graph.node for name in node.output}
    constants = {tensor.name for tensor in quantised.graph.initializer}
    layers = [
        node
        for node in quantised.graph.node
        if node.output[0] in exact & floats
        and node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        and any(_is_dequantised(name, producer) for name in node.input)
    ]
    # A Relu goes into the range of the rounding behind it: such layers give what it has not cut.
    absorbed = _results_of(reference, "Relu") - _results_of(quantised, "Relu")
    for tensor in quantised.graph.initializer:
        _add_constant(model, tensor, TOTAL)
    for node in quantised.graph.node:
        _add_node(model, node, TOTAL, lambda name: name in inputs)
    done: set[str] = set()
    for node in layers:
        for step in _own_steps(node, producer, exact | inputs):
            if step.output[0] not in done:
                done.add(step.output[0])
                _add_own(model, step, exact | inputs, constants)
        _add_sums(model, node.output[0], node.output[0] in absorbed)
    return model, layers


def _results_of(model: ModelProto, operator: str) -> set[str]:
    return {node.output[0] for node in model.graph.node if node.op_type == operator}


def _is_dequantised(name: str, producer: Mapping[str, NodeProto]) -> bool:
    return name in producer and producer[name].op_type == "DequantizeLinear"


def _own_steps(
    node: NodeProto, producer: Mapping[str, NodeProto], exact: set[str]
) -> list[NodeProto]:
    """The rounding nodes before a layer, first things first, and the layer."""
    steps: list[NodeProto] = []
    waiting = [name for name in node.input if name in producer and name not in exact]
    while waiting:
        step = producer[waiting.pop()]
        steps.insert(0, step)
        waiting += [name for name in step.input if name in producer and name not in exact]
    return [*steps, node]


def _add_own(model: ModelProto, node: NodeProto, exact: set[str], constants: set[str]) -> None:
    """A node that reads exact tensors where there are any, and quantised constants."""
    added = copy.deepcopy(node)
    added.name = OWN + node.name
    added.input[:] = [
        ""
        if not name
        else TOTAL + name
        if name in constants
        else name
        if name in exact
        else OWN + name
        for name in node.input
    ]
    added.output[:] = [OWN + name for name in node.output]
    model.graph.node.append(added)


def _add_node(model: ModelProto, node: NodeProto, prefix: str, shared: Any) -> None:
    added = copy.deepcopy(node)
    added.name = prefix + node.name
    added.input[:] = [n if not n or shared(n) else prefix + n for n in node.input]
    added.output[:] = [prefix + name for name in node.output]
    model.graph.node.append(added)


def _add_constant(model: ModelProto, tensor: Any, prefix: str) -> None:
    added = copy.deepcopy(tensor)
    added.name = prefix + tensor.name
    model.graph.initializer.append(added)


def _add_sums(model: ModelProto, name: str, cut: bool) -> None:
    """Outputs: the sum of squares of an exact tensor and of its two differences.

    ``cut``: the exact tensor is a Relu's, the others are before it.
    """
    from onnx import TensorProto, helper

    def square(source: str) -> None:
        target = f"{source}//square"
        node = helper.make_node("ReduceSumSquare", [source], [target], target, keepdims=0)
        model.graph.node.append(node)
        output = helper.make_tensor_value_info(target, TensorProto.FLOAT, [])
        model.graph.output.append(output)

    square(name)
    for prefix in (OWN, TOTAL):
        difference, value = f"{prefix}{name}//difference", prefix + name
        if cut:
            model.graph.node.append(helper.make_node("Relu", [value], [f"{value}//cut"]))
            value = f"{value}//cut"
        model.graph.node.append(helper.make_node("Sub", [value, name], [difference]))
        target = f"{prefix}{name}//square"
        node = helper.make_node("ReduceSumSquare", [difference], [target], target, keepdims=0)
        model.graph.node.append(node)
        model.graph.output.append(helper.make_tensor_value_info(target, TensorProto.FLOAT, []))
