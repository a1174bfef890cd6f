"""The manifest's entries: what the detector is, and what every input and output means."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padre3d.export.onnx_model import OPSET
from padre3d.io.files import write_atomic
from padre3d.runtime.manifest import FORMAT

if TYPE_CHECKING:
    from padre3d.detector import PADReDetector

CARD = "info.json"
PACKAGES = ("padre3d", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")
MEANINGS = {
    "features": "pillar features of the pillar encoder, rows ascending in y * nx + x",
    "index": "pillar row of each token slot, for each token layout",
    "slot": "position of each pillar's token in its layout, flat over the last two axes of index",
    "window_index": "index of each pillar in its window, y * window_x + x, for each shift",
    "cells": "cell y * nx + x of each pillar",
    "cell_to_pillar": "1 + the pillar row of each map cell (y, x), 0 for an empty cell",
    "valid": "whether a token slot holds a token of its own",
    "backbone_features": "pillar features after the backbone",
    "center": "box centre x, y in cells of the head's map, origin at the range's minimum",
    "height": "z of the box's top face in metres",
    "dim": "log of length, width, height in metres",
    "rot": "sine and cosine of the yaw, counter-clockwise from +x",
    "vel": "vx, vy in m/s",
    "iou": "predicted IoU mapped to -1..1",
    "heatmap": "class logits of the proposals",
    "query_heatmap_score": "heatmap probability in the proposal's cell, 0 where no local maximum",
    "dense_heatmap": "logits of the whole map (y, x)",
    "query_labels": "class each proposal was taken from",
    "query_pos": "x, y of the proposal's cell centre in cells",
}


def describe_detector(detector: PADReDetector) -> dict[str, Any]:
    """Geometry, classes, decoding, token layouts, versions and commit."""
    planner = detector.backbone.planner
    return {
        "format": FORMAT,
        "opset": OPSET,
        "classes": list(detector.class_names),
        "grid": dataclasses.asdict(detector.grid),
        "head_grid": dataclasses.asdict(detector.head.grid),
        "decode": dataclasses.asdict(detector.head.decode_settings),
        "point_columns": detector.pillar_encoder.in_channels,
        "layout": planner.layout,
        "set_size": planner.sets[0].set_size if planner.layout == "set" else None,
        "layouts": [{"order": order, "shift": shift} for order, shift in planner.keys],
        "versions": _versions(),
        "commit": _commit(),
    }


def describe_model(path: Path) -> dict[str, Any]:
    """Inputs and outputs of an ONNX file."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return {
        "inputs": [_describe(value) for value in graph.input],
        "outputs": [_describe(value) for value in graph.output],
    }


def _describe(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name,
        "shape": [d.dim_param or d.dim_value for d in tensor.shape.dim],
        "meaning": MEANINGS[value.name],
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Commit of the source tree, if it is one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write what ``padre3d detect`` and the C++ program ask of a folder beside its manifest.

    Args:
        folder: of the export.
        card: ``num_sweeps`` and ``stride`` of the clouds in training, and whatever else is known.
    """
    write_atomic(folder / CARD, json.dumps(dict(card), indent=1, allow_nan=False) + "\n")
