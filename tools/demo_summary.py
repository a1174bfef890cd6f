"""The figures of a finished training in one small dictionary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from padre3d.structures.classes import NUSCENES_CLASSES

AP_DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
ERRORS = {"NDS": "", "mAP": "", "mATE": " (m)", "mASE": "", "mAOE": " (rad)", "mAVE": " (m/s)"}


def detection_scores(
    metrics: Mapping[str, float], classes: Sequence[str] = NUSCENES_CLASSES
) -> dict[str, Any]:
    """NDS, mAP and the AP of every class, out of what the nuScenes metric reports.

    Args:
        metrics: ``.../NDS``, ``.../mAP`` and ``.../{class}_AP_dist_{metres}``.
        classes: class names.

    Returns:
        ``nds``, ``map`` and ``ap_per_class``: the mean over the matching distances.

    Raises:
        ValueError: if a figure is missing.
    """
    short = {key.rsplit("/", 1)[-1]: float(value) for key, value in metrics.items()}
    wanted = [f"{name}_AP_dist_{d}" for name in classes for d in AP_DISTANCES_M]
    missing = [key for key in ("NDS", "mAP", *wanted) if key not in short]
    if missing:
        raise ValueError(f"metrics: expected {missing[0]} among them, got {sorted(short)[:5]}, ...")
    ap = {
        name: sum(short[f"{name}_AP_dist_{d}"] for d in AP_DISTANCES_M) / len(AP_DISTANCES_M)
        for name in classes
    }
    return {"nds": short["NDS"], "map": short["mAP"], "ap_per_class": ap}


def comparison(rows: Mapping[str, Mapping[str, float]], note: str = "") -> Table:
    """Scores of several models side by side.

    Args:
        rows: what the nuScenes metric reports, by the model's name.
        note: below the table.
    """
    table = Table(title="the same unseen frames", caption=note or None)
    table.add_column("model")
    for key, unit in ERRORS.items():
        table.add_column(key + unit, justify="right")
    for name, metrics in rows.items():
        short = {key.rsplit("/", 1)[-1]: value for key, value in metrics.items()}
        table.add_row(name, *(f"{short.get(key, float('nan')):.3f}" for key in ERRORS))
    return table


def count_frames(info_file: Path) -> int:
    """Frames of an mmdet3d info file that this project wrote."""
    from padre3d.data.point_files import read_pickle

    return len(read_pickle(info_file, "an info file")["data_list"])


def onnx_error(manifest_file: Path) -> float:
    """Largest difference between torch and the file that an export's manifest stands for."""
    return read_json(manifest_file)["parity"]["max_abs_err"]


def backbone_parameters(checkpoint: Path) -> int:
    """Weights of the token backbone in a checkpoint, statistics and constants not counted."""
    from padre3d.training.checkpoint import load_checkpoint_file

    state = load_checkpoint_file(checkpoint)["state_dict"]
    return sum(
        value.numel()
        for key, value in state.items()
        if key.startswith("backbone.") and value.is_floating_point() and "running_" not in key
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    return json.loads(path.read_text())
