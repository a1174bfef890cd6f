"""8-bit files: for TensorRT, for CPUs and for Qualcomm NPUs, which run different ones fast.

| | int8-trt | int8-cpu | int8-qnn |
|---|---|---|---|
| weights | int8, symmetric, a scale per channel | the same, -64 to 64 | uint8 |
| activations | int8, symmetric | uint8 with a zero point | uint16 |
| biases | float (TensorRT takes no int32) | int32 | int32 |
| operators | Conv, Gemm, MatMul | also Add, Relu, Concat of maps | all |
| not quantised | what loses most: in 16 bit | what loses most: in 32 bit | nothing |

An x86 processor multiplies unsigned by signed bytes (VNNI), so a file with signed activations gains
nothing on it. One without VNNI adds pairs of such products in 16 bit. These hold 2 x 255 x 64, so
weights are in 7 bit: larger ones would saturate. Sums and concatenations of maps are quantised to
keep convolutions in a row in 8 bit; the 3-D backbone's, between a product and a LayerNorm, are not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padre3d.backends.base import Arrays
from padre3d.export.layer_errors import layer_errors
from padre3d.export.onnx_model import DEQUANTIZE, QUANTIZE, exact_nodes
from padre3d.export.transposed import as_convolutions

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTISED = ("Conv", "Gemm", "MatMul")
BETWEEN_MAPS = ("Add", "Relu", "Concat")
# A layer whose own result is off by more than this stays wide (int8-trt, int8-cpu).
OWN_LIMIT = 0.04
MEASURED_FRAMES = 2


def quantize(
    path: Path, precision: str, calibration: Sequence[Arrays]
) -> tuple[ModelProto, list[dict[str, Any]]]:
    """Quantise a model file.

    Args:
        path: the fp32 file; for "int8-cpu" it is rewritten by :func:`as_convolutions`.
        precision: "int8-trt", "int8-cpu" or "int8-qnn".
        calibration: inputs of at least one frame, by name.

    Returns:
        The model with QuantizeLinear and DequantizeLinear nodes, and the error of each layer:
        ``layer``, ``operator``, ``own`` (its inputs and weights rounded, all before it exact),
        ``total`` (all rounded) and ``bits``; relative RMS, worst first.
    """
    import onnx

    if not calibration:
        raise ValueError(f"{precision}: expected at least one calibration frame, got none")
    reference = onnx.load(str(path))
    measured = calibration[:MEASURED_FRAMES]
    if precision == "int8-qnn":
        model = _quantize_qnn(path, calibration)
        errors = layer_errors(reference, model, measured)
        return model, [{**error, "bits": "A16 W8"} for error in errors]
    settings, wide = (_CPU, 32) if precision == "int8-cpu" else (_TRT, 16)
    if precision == "int8-cpu":
        reference = as_convolutions(reference)
        onnx.save(reference, str(path))
    never = _without_weight_matrix(reference) + _not_of_maps(reference)
    model = _quantize_some(path, calibration, settings, never)
    first = layer_errors(reference, model, measured)
    # Others, such as a transposition, only read what a layer before them rounded.
    kept = [
        error["layer"]
        for error in first
        if not error["own"] <= OWN_LIMIT and error["operator"] in settings.operators
    ]
    if kept:
        model = _quantize_some(path, calibration, settings, never + kept)
    total = {error["layer"]: error["total"] for error in layer_errors(reference, model, measured)}
    errors = [
        {**e, "total": total.get(e["layer"], e["total"]), "bits": wide if e["layer"] in kept else 8}
        for e in first
    ]
    return model, errors


def _without_weight_matrix(model: ModelProto) -> list[str]:
    """Products of two activations, or with a stack of matrices (which has no scale per channel)."""
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and not any(ranks.get(name) == 2 for name in node.input)
    ]


def _not_of_maps(model: ModelProto) -> list[str]:
    """Sums, maxima and concatenations of anything but maps (B, C, H, W)."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in inferred.value_info}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in BETWEEN_MAPS and ranks.get(node.output[0]) != 4
    ]


@dataclass(frozen=True)
class _Settings:
    """What a kind of file quantises, and how."""

    operators: tuple[str, ...]
    signed_activations: bool
    options: Mapping[str, object]


_TRT = _Settings(
    QUANTISED,
    True,
    {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
)
# Behind a product of the 3-D backbone comes a sum or a norm, which is not quantised.
_CPU = _Settings(
    (*QUANTISED, *BETWEEN_MAPS),
    False,
    {"WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
)


def _quantize_some(
    path: Path, calibration: Sequence[Arrays], settings: _Settings, excluded: list[str]
) -> ModelProto:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        out = Path(folder) / path.name
        quantize_static(
            path,
            out,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=list(settings.operators),
            nodes_to_exclude=excluded,
            activation_type=QuantType.QInt8 if settings.signed_activations else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Of weights: 7 bit, so that no processor saturates (above).
            reduce_range=not settings.signed_activations,
            extra_options={"CalibMovingAverage": True, **settings.options},
        )
        model = _read(out)
    rounded = {
        node.name
        for node in _read(path).graph.node
        if node.op_type in settings.operators and node.name not in excluded
    }
    _read_unrounded(model, rounded)
    return model


def _read_unrounded(model: ModelProto, rounded: set[str]) -> None:
    """Let layers that are not quantised read a tensor as it is, not what a quantised one reads.

    onnxruntime rounds a tensor for all its readers: also for the residual connection, whose error
    every layer would add to. The result of a quantised layer stays rounded, or the layer would have
    to write it twice.
    """
    maker = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in (QUANTIZE, DEQUANTIZE) or node.name in rounded:
            continue
        for i, name in enumerate(node.input):
            back = maker.get(name)
            rounding = maker.get(back.input[0]) if back and back.op_type == DEQUANTIZE else None
            if rounding is None:  # not rounded, or a weight
                continue
            source = maker.get(rounding.input[0])
            if source is None or source.name not in rounded:
                node.input[i] = rounding.input[0]


def _quantize_qnn(path: Path, calibration: Sequence[Arrays]) -> ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize as quantize_by_config
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    config = get_qnn_qdq_config(
        path,
        _Reader(calibration),
        activation_type=QuantType.QUInt16,
        weight_type=QuantType.QUInt8,
        nodes_to_exclude=exact_nodes(_read(path)),
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        out = Path(folder) / path.name
        quantize_by_config(path, out, config)
        return _read(out)


def _read(path: Path) -> ModelProto:
    import onnx

    return onnx.load(str(path))


class _Reader:
    """Calibration frames as onnxruntime's quantiser reads them; it may start over."""

    def __init__(self, frames: Sequence[Arrays]) -> None:
        self.frames = frames
        self.rewind()

    def rewind(self) -> None:
        self.rest: Iterator[Arrays] = iter(self.frames)

    def get_next(self) -> Arrays | None:
        return next(self.rest, None)

    def __len__(self) -> int:
        return len(self.frames)
