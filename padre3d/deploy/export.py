"""A trained detector to a folder that runs without torch: export, compare, and only then keep."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from padre3d.deploy.graph import DetectorGraph, frame_inputs
from padre3d.deploy.onnx import OPSET, export_graph
from padre3d.deploy.parity import FrameParity, compare_outputs
from padre3d.deploy.tables import runtime_tables
from padre3d.head.outputs import HeadOutputs

MODEL, TABLES, MANIFEST = "model.onnx", "tables.npz", "manifest.json"
TOLERANCE = 1e-3
THINNED = 4

MEANINGS = {
    "features": "pillar features of the pillar encoder, rows ascending in y * nx + x",
    "index": "pillar row of each token slot, for each token layout",
    "slot": "position of each pillar's token in its layout, flat over the last two axes of index",
    "places": "place of each pillar in its window, y * window_x + x, for each shift",
    "inverse": "1 + the pillar row of each map cell (y, x), 0 for an empty cell",
    "valid": "whether a token slot holds a token of its own",
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


class ParityError(RuntimeError):
    """The exported file does not give torch's values; ``results`` says how far it is off."""

    def __init__(self, message: str, results: list[FrameParity]) -> None:
        super().__init__(message)
        self.results = results


def export_detector(
    detector: nn.Module,
    clouds: Mapping[str, Tensor],
    out: str | Path,
    size: int | None = None,
    tolerance: float = TOLERANCE,
    about: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[FrameParity]]:
    """Export, compare with torch on the clouds, and move the files to ``out`` if they agree.

    Args:
        detector: in evaluation mode, on the CPU.
        clouds: (P, 5) clouds by name; the first one is traced. Without a fixed size a thinned copy
            of it is compared as well, to prove that another number of pillars works.
        out: folder for ``model.onnx``, ``tables.npz`` and ``manifest.json``.
        size: fixed number of pillars, or None for any number.
        tolerance: largest absolute difference allowed in any raw output.
        about: further entries of the manifest (config, checkpoint).

    Returns:
        The manifest and the comparisons.

    Raises:
        ValueError: if a cloud has no pillar or too many, or the graph is not portable.
        ParityError: if the values differ; nothing is left in ``out`` that was not there before.
    """
    out = Path(out)
    clouds = dict(clouds)
    graph = DetectorGraph(detector)
    first = next(iter(clouds))
    if size is None:
        clouds[f"{first} / {THINNED}"] = clouds[first][::THINNED]
    inputs = frame_inputs(graph, _pillars(detector, clouds[first]), size)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        made = Path(folder)
        export_graph(graph, inputs, made / MODEL, fixed=size is not None)
        np.savez_compressed(made / TABLES, **runtime_tables(detector))
        results = check_parity(detector, graph, made / MODEL, clouds, size)
        worst = max(result.worst for result in results)
        if not worst <= tolerance:
            raise ParityError(
                f"{MODEL}: expected torch's values within {tolerance:g}, got a difference of "
                f"{worst:g}; nothing was kept",
                results,
            )
        manifest = _manifest(detector, graph, made, size, results, tolerance)
        manifest.update(about or {})
        (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        out.mkdir(exist_ok=True)
        (out / MANIFEST).unlink(missing_ok=True)
        for name in (MODEL, TABLES, MANIFEST):  # the manifest last: it vouches for the others
            os.replace(made / name, out / name)
    return manifest, results


@torch.no_grad()
def check_parity(
    detector: nn.Module,
    graph: DetectorGraph,
    path: Path,
    clouds: Mapping[str, Tensor],
    size: int | None,
) -> list[FrameParity]:
    """The file in onnxruntime against the whole eager detector, frame by frame."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results = []
    for name, cloud in clouds.items():
        pillars = _pillars(detector, cloud)
        inputs = frame_inputs(graph, pillars, size)
        values = session.run(
            list(HeadOutputs._fields), {key: value.numpy() for key, value in inputs.items()}
        )
        found = HeadOutputs(*map(torch.from_numpy, values))
        expected = detector.forward_points([cloud])
        results.append(compare_outputs(name, len(pillars.coords), expected, found, detector.head))
    return results


@torch.no_grad()
def _pillars(detector: nn.Module, cloud: Tensor) -> Any:
    return detector.pillar_encoder([cloud])


def _manifest(
    detector: nn.Module,
    graph: DetectorGraph,
    folder: Path,
    size: int | None,
    results: list[FrameParity],
    tolerance: float,
) -> dict[str, Any]:
    import onnx

    model = onnx.load(str(folder / MODEL)).graph
    planner = graph.backbone.planner
    return {
        "format": 1,
        "precision": "fp32",
        "pillars": size or "dynamic",
        "opset": OPSET,
        "classes": list(detector.class_names),
        "grid": dataclasses.asdict(detector.grid),
        "head_grid": dataclasses.asdict(detector.head.grid),
        "decode": dataclasses.asdict(detector.head.decode_settings),
        "point_columns": detector.pillar_encoder.in_channels,
        "tokens": planner.tokens,
        "set_size": planner.sets[0].set_size if planner.tokens == "set" else None,
        "layouts": [{"order": order, "shift": shift} for order, shift in planner.keys],
        "inputs": [_describe(value) for value in model.input],
        "outputs": [_describe(value) for value in model.output],
        "sha256": {name: sha256(folder / name) for name in (MODEL, TABLES)},
        "onnx_max_abs_err": max(result.worst for result in results),
        "parity_tolerance": tolerance,
        "parity": [dataclasses.asdict(result) for result in results],
        "versions": _versions(),
        "commit": _commit(),
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


def sha256(path: Path) -> str:
    """Checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "onnx", "onnxscript", "onnxruntime", "numpy"):
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
