"""8-bit files: one config for TensorRT, one for Qualcomm NPUs, which accept different ones.

| | int8-trt | int8-qnn |
|---|---|---|
| weights | int8, symmetric, one scale per channel | uint8 |
| activations | int8, symmetric | uint16 |
| biases | float (TensorRT takes no int32) | int32 |
| not quantised | what loses most: it stays in 16 bit | nothing |
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padre3d.backends.base import Arrays
from padre3d.export.layer_errors import layer_errors
from padre3d.export.onnx_model import exact_nodes

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTISED = ("Conv", "Gemm", "MatMul")
# A layer whose own result is off by more than this stays in 16 bit (int8-trt).
OWN_LIMIT = 0.04
MEASURED_FRAMES = 2


def quantize(
    path: Path, precision: str, calibration: Sequence[Arrays]
) -> tuple[ModelProto, list[dict[str, Any]]]:
    """Quantise a model file.

    Args:
        path: the fp32 file.
        precision: "int8-trt" or "int8-qnn".
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
    never = _without_weight_matrix(reference)
    model = _quantize_trt(path, calibration, never)
    first = layer_errors(reference, model, measured)
    kept = [error["layer"] for error in first if not error["own"] <= OWN_LIMIT]
    if kept:
        model = _quantize_trt(path, calibration, never + kept)
    total = {error["layer"]: error["total"] for error in layer_errors(reference, model, measured)}
    errors = [
        {**e, "total": total.get(e["layer"], e["total"]), "bits": 16 if e["layer"] in kept else 8}
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


def _quantize_trt(path: Path, calibration: Sequence[Arrays], excluded: list[str]) -> ModelProto:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        out = Path(folder) / path.name
        quantize_static(
            path,
            out,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=excluded,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "CalibMovingAverage": True,
            },
        )
        return _read(out)


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
