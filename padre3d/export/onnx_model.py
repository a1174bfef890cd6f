"""The graph as an ONNX file of operators that every runtime has."""

from __future__ import annotations

import ast
import logging
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from padre3d.export.fold import fold_affine, fold_constants
from padre3d.export.graph import (
    BACKBONE_FEATURES,
    CELL_TO_PILLAR,
    CELLS,
    FEATURES,
    INDEX,
    SLOT,
    VALID,
    WINDOW_INDEX,
)
from padre3d.head.queries import MAX_TOPK

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
MAX_PILLARS = 1 << 20
# Found by trying TensorRT, onnxruntime, OpenVINO and QNN. Scatters with a reduction, NonZero,
# Unique, loops and a BatchNormalization left unfolded fail in at least one of them.
OPERATORS = frozenset(
    re.findall(
        r"\w+",
        """
        Abs Add And Cast Concat Constant Conv ConvTranspose CumSum DequantizeLinear Div Equal Expand
        Floor Gather GatherElements GatherND Gelu Gemm LayerNormalization Less MatMul MaxPool Mod
        Mul Not Pad QuantizeLinear Relu Reshape Shape Sigmoid Sign Slice Softmax Split Squeeze Sub
        TopK Transpose Unsqueeze Where
        """,
    )
)
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# Beyond a few hundred cells 16 bit resolve a position to 10 cm only.
EXACT_OUTPUTS = ("center", "query_pos")
HEATMAP = "dense_heatmap"
# TensorRT parses a larger K and then fails to build.


def export_graph(
    graph: nn.Module, inputs: dict[str, Tensor], path: str | Path, fixed: bool
) -> None:
    """Write a graph to ``path``, one file with its weights.

    Args:
        graph: a graph of :func:`padre3d.export.graph.split_graph`; its ``outputs`` name the
            results.
        inputs: its inputs by name, at least two pillars.
        path: where to.
        fixed: keep the number of pillars of ``inputs``; otherwise it is the symbol ``pillars``
            (and the number of sets the symbol ``sets``).

    Raises:
        ValueError: if the graph has an operator that some runtime lacks.
        ImportError: without onnx or onnxscript.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("export: pip install onnx onnxscript onnxruntime") from error
    names: Any = graph.outputs
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                kwargs=inputs,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(names),
                dynamic_shapes=None if fixed else _symbols(inputs),
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    fold_constants(model)
    fold_affine(model)
    _plain_divisions(model)
    _name_nodes(model)
    _strip(model)
    check_operators(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def check_operators(model: ModelProto) -> None:
    """Check that a graph has only operators of :data:`OPERATORS`, and no TopK too large to build.

    Raises:
        ValueError: names the operators that do not belong.
    """
    import onnx

    nodes = [node for graph in _graphs(model) for node in graph]
    foreign = {
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for node in nodes
        if node.op_type not in OPERATORS or not _has_own_domain(node)
    }
    if foreign:
        raise ValueError(
            f"ONNX graph: expected operators of the portable set only, got {sorted(foreign)}"
        )
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in nodes:
        if node.op_type == "TopK":
            k = constants.get(node.input[1])
            count = None if k is None else int(onnx.numpy_helper.to_array(k).item())
            if count is None or count > MAX_TOPK:
                raise ValueError(f"ONNX graph: expected a TopK of at most {MAX_TOPK}, got {count}")


def _symbols(inputs: dict[str, Tensor]) -> dict[str, dict | None]:
    pillars = torch.export.Dim("pillars", min=2, max=MAX_PILLARS)
    shapes: dict[str, dict | None] = {
        **{name: {0: pillars} for name in (FEATURES, BACKBONE_FEATURES, CELLS)},
        **{name: {1: pillars} for name in (SLOT, WINDOW_INDEX)},
        CELL_TO_PILLAR: None,
    }
    if INDEX in inputs:
        # Sequence form: one row of all pillars. Set form: as many rows as there are sets.
        sets = inputs[INDEX].shape[1] > 1
        shapes[INDEX] = (
            {1: torch.export.Dim("sets", min=2, max=MAX_PILLARS)} if sets else {2: pillars}
        )
        shapes[VALID] = shapes[INDEX]
    return {name: shapes[name] for name in inputs}


def _has_own_domain(node: Any) -> bool:
    """ONNX's domain, or onnxruntime's for rounding to 16 bit, which ONNX has from opset 21 on."""
    rounds = node.op_type in (QUANTIZE, DEQUANTIZE)
    return node.domain in ("", "ai.onnx") or (rounds and node.domain == "com.microsoft")


def _plain_divisions(model: ModelProto) -> None:
    """Whole-number division without the correction for negative numbers: indices have none."""
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        if node.op_type != "Sub" or not all(name in producer for name in node.input):
            continue
        quotient, correction = (producer[name] for name in node.input)
        if quotient.op_type != "Div" or correction.op_type != "Cast":
            continue
        if producer[correction.input[0]].op_type == "And":
            quotient.output[0] = node.output[0]
            graph.node.remove(node)
    _drop_unread(model)


def _drop_unread(model: ModelProto) -> None:
    """Remove nodes and constants that nobody reads."""
    graph = model.graph
    wanted = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if wanted & set(node.output):
            wanted.update(node.input)
        else:
            graph.node.remove(node)
    kept = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _name_nodes(model: ModelProto) -> None:
    """Name each node after the module it comes from, for error reports and engine layers."""
    for i, node in enumerate(model.graph.node):
        notes = {note.key: note.value for note in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "['', '']"))
        modules = [scope for scope in scopes[:-1] if scope]
        node.name = f"{modules[-1] if modules else 'graph'}/{node.op_type}_{i}"


def _strip(model: ModelProto) -> None:
    """Remove the exporter's notes, which hold the source paths of the machine."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info):
        holder.doc_string = ""
        del holder.metadata_props[:]
    for holder in (*model.graph.input, *model.graph.output):
        del holder.metadata_props[:]


def _graphs(model: ModelProto) -> list:
    """The nodes of the main graph, of its sub-graphs, and of the model's functions."""
    found = [function.node for function in model.functions]
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        found.append(graph.node)
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs
    return found


def float_tensors(model: ModelProto) -> set[str]:
    """Names of all 32-bit float tensors: inputs, constants and results."""
    import onnx

    known = onnx.shape_inference.infer_shapes(model).graph
    values = (*known.input, *known.value_info, *known.output)
    named = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return named | {t.name for t in known.initializer if t.data_type == onnx.TensorProto.FLOAT}


def exact_nodes(model: ModelProto) -> list[str]:
    """Names of the nodes that choose the proposals or place the boxes: never rounded to 8 bit."""
    wide = wide_tensors(model, float_tensors(model))
    return [node.name for node in model.graph.node if set(node.output) & wide]


def wide_tensors(model: ModelProto, floats: set[str]) -> set[str]:
    """Results that are never rounded to 16 or 8 bit: proposals, positions, between Q and DQ."""
    wide, from_heatmap = set(EXACT_OUTPUTS), {HEATMAP}
    dequantised: set[str] = set()
    for node in model.graph.node:
        inputs = set(node.input)
        if inputs & from_heatmap & floats:
            from_heatmap.update(node.output)
        if node.op_type in (QUANTIZE, DEQUANTIZE) or inputs & dequantised:
            wide.update(node.output)
        if node.op_type == DEQUANTIZE:
            dequantised.update(node.output)
    return wide | from_heatmap - {HEATMAP}
