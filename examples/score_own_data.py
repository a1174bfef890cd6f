"""Boxes of any detector against your own annotations, by nuScenes' rules, without a training.

python examples/score_own_data.py FOUND TRUTH CLASS [CLASS ...]

FOUND and TRUTH are folders with a JSON for every frame, as ``padre3d detect --out FOLDER`` writes
them. Annotated boxes need no score, and boxes of other classes do not count. docs/own-data.md
trains and scores a detector of your own.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.common.config import config_factory

from padre3d.data.class_list import class_list_evaluation, score_class_list
from padre3d.io.boxes_json import read_boxes_json
from padre3d.structures.boxes import Detections

WITHIN_M = 50.0


def frame_info(name: str, truth: Detections) -> dict[str, Any]:
    """An annotated frame as the evaluation wants it, the vehicle's frame being the sensor's."""
    instances = [
        {"bbox_3d": row[:7], "velocity": row[7:9], "bbox_label_3d": label, "bbox_3d_isvalid": True}
        for row, label in zip(truth.boxes, truth.labels.tolist(), strict=True)
    ]
    poses = {"lidar_points": {"lidar2ego": np.eye(4)}, "ego2global": np.eye(4)}
    return {"token": name, "instances": instances, **poses}


def main(found: str, truth: str, *classes: str) -> dict[str, float]:
    """AP of every class, the mean over the matching distances of 0.5, 1, 2 and 4 m."""
    files = sorted(Path(truth).glob("*.json"))
    if not files:
        raise ValueError(f"{truth}: expected a folder with a JSON for every frame, found none")
    read = partial(read_boxes_json, class_names=classes, skip_others=True)
    infos = [frame_info(path.stem, read(path)) for path in files]
    boxes = [read(Path(found) / path.name).best_first() for path in files]
    names, ranges = dict(enumerate(classes)), dict.fromkeys(classes, WITHIN_M)
    rules = config_factory("detection_cvpr_2019")
    evaluation = class_list_evaluation(infos, names, dict(enumerate(boxes)), ranges, rules)
    precision = score_class_list(evaluation).mean_dist_aps
    for name in classes:
        print(f"{name}: AP {precision[name]:.3f}")
    return dict(precision)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
