"""Boxes of any detector against your own annotations, by nuScenes' rules, without a training.

python examples/score_own_data.py FOUND TRUTH CLASS [CLASS ...]

FOUND and TRUTH are folders with a JSON for every frame, as ``padre3d detect --out FOLDER`` writes
them; annotated boxes need no score. docs/own-data.md trains and scores a detector of your own.
"""

from __future__ import annotations

import sys
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
    pose = np.eye(4)
    points = {"lidar2ego": pose}
    return {"token": name, "instances": instances, "lidar_points": points, "ego2global": pose}


def main(found: str, truth: str, *classes: str) -> dict[str, float]:
    """AP of every class, the mean over the matching distances of 0.5, 1, 2 and 4 m."""
    files = sorted(Path(truth).glob("*.json"))
    infos = [frame_info(path.stem, read_boxes_json(path, classes)) for path in files]
    boxes = [read_boxes_json(Path(found) / path.name, classes).best_first() for path in files]
    evaluation = class_list_evaluation(
        infos,
        dict(enumerate(classes)),
        dict(enumerate(boxes)),
        dict.fromkeys(classes, WITHIN_M),
        config_factory("detection_cvpr_2019"),
    )
    precision = score_class_list(evaluation).mean_dist_aps
    for name in classes:
        print(f"{name}: AP {precision[name]:.3f}")
    return dict(precision)


if __name__ == "__main__":
    main(*sys.argv[1:])
