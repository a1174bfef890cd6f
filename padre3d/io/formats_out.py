"""Boxes out in other people's formats: nuScenes submission, KITTI labels, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from padre3d.structures.boxes import Detections, box_arrays

FORMATS = {"json": ".json", "nuscenes": ".json", "kitti": ".txt", "csv": ".csv"}
CSV_HEADER = ("frame", "name", "score", "x", "y", "z", "l", "w", "h", "yaw", "vx", "vy")
DIGITS = 4
# The devkit refuses samples with more.
MOST_BOXES_PER_SAMPLE = 500
MOVING_MPS = 0.2
# Attribute of a moving and of a standing object; classes that have none are left out.
ATTRIBUTES = {
    **dict.fromkeys(
        ("car", "truck", "trailer", "construction_vehicle"), ("vehicle.moving", "vehicle.parked")
    ),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    **dict.fromkeys(("bicycle", "motorcycle"), ("cycle.with_rider", "cycle.without_rider")),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
}
KITTI_NAMES = {"bicycle": "Cyclist"}


def boxes_to_csv(found: Detections, class_names: Sequence[str], frame: str) -> str:
    """One line a box: frame, name, score, gravity centre and sizes in m, yaw in rad, m/s.

    Args:
        found: boxes (K, 9), scores (K,), labels (K,).
        class_names: the names the labels count.
        frame: what the first column says.

    Returns:
        A table with a header; velocities nobody knows are empty.

    Raises:
        ValueError: as :func:`padre3d.structures.boxes.box_arrays`.
    """
    boxes, scores, labels = box_arrays(found, class_names)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for box, score, label in zip(boxes, scores, labels, strict=True):
        numbers = ["" if np.isnan(v) else round(float(v), DIGITS) for v in box]
        writer.writerow([frame, class_names[label], round(float(score), DIGITS), *numbers])
    return text.getvalue()


def boxes_to_kitti(found: Detections, class_names: Sequence[str], forward_rad: float) -> str:
    """One line a box as in KITTI's label files with a score.

    The camera is an ideal one at the sensor that looks forward: x right, y down, z forward. There
    is no image, so truncation, occlusion and the box in the image are -1.

    Args:
        found: boxes (K, 9), scores (K,), labels (K,).
        class_names: the names the labels count; KITTI's own where it has the class.
        forward_rad: direction of forward in the boxes' frame, counter-clockwise from +x.

    Raises:
        ValueError: as :func:`padre3d.structures.boxes.box_arrays`.
    """
    boxes, scores, labels = box_arrays(found, class_names)
    cos, sin = np.cos(forward_rad), np.sin(forward_rad)
    lines = []
    for box, score, label in zip(boxes, scores, labels, strict=True):
        x, y, z, length, width, height, yaw = box[:7]
        ahead, left = x * cos + y * sin, y * cos - x * sin
        turn = _wrapped(forward_rad - yaw - np.pi / 2)
        alpha = _wrapped(turn - np.arctan2(-left, ahead))
        name = class_names[label]
        numbers = (height, width, length, -left, height / 2 - z, ahead, turn, score)
        lines.append(
            f"{KITTI_NAMES.get(name, name.capitalize())} -1 -1 {alpha:.4f} -1 -1 -1 -1 "
            + " ".join(f"{v:.4f}" for v in numbers)
        )
    return "".join(f"{line}\n" for line in lines)


def nuscenes_results(
    found: Detections, class_names: Sequence[str], token: str, global_from_boxes: np.ndarray
) -> list[dict[str, Any]]:
    """The boxes of one sample of a nuScenes detection submission, the 500 best.

    Args:
        found: boxes (K, 9), scores (K,), labels (K,).
        class_names: the names the labels count.
        token: of the sample.
        global_from_boxes: (4, 4) pose of the boxes' frame in the global frame.

    Raises:
        ValueError: as :func:`padre3d.structures.boxes.box_arrays`.
    """
    best = box_arrays(found, class_names).best_first()
    best = best.select(np.arange(min(len(best.scores), MOST_BOXES_PER_SAMPLE)))
    rotation = global_from_boxes[:3, :3]
    centres = best.boxes[:, :3] @ rotation.T + global_from_boxes[:3, 3]
    # A velocity nobody knows counts as standing still: the format has no word for it.
    flat = np.pad(np.nan_to_num(best.boxes[:, 7:9]), ((0, 0), (0, 1)))
    velocities = flat @ rotation.T
    records = []
    for i, (box, score, label) in enumerate(zip(*best, strict=True)):
        name = class_names[label]
        speed = float(np.hypot(*velocities[i, :2]))
        moving, standing = ATTRIBUTES.get(name, ("", ""))
        records.append(
            {
                "sample_token": token,
                "translation": centres[i].tolist(),
                "size": [float(box[4]), float(box[3]), float(box[5])],
                "rotation": _quaternion(rotation @ _about_z(box[6])),
                "velocity": velocities[i, :2].tolist(),
                "detection_name": name,
                "detection_score": float(score),
                "attribute_name": moving if speed > MOVING_MPS else standing,
            }
        )
    return records


def nuscenes_submission(results: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """A submission of all samples, by token."""
    modalities = ("camera", "lidar", "radar", "map", "external")
    meta = {f"use_{name}": name == "lidar" for name in modalities}
    return {"meta": meta, "results": dict(results)}


def _wrapped(angle_rad: float) -> float:
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)


def _about_z(angle_rad: float) -> np.ndarray:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _quaternion(rotation: np.ndarray) -> list[float]:
    """w, x, y, z of a rotation (3, 3): the eigenvector that loses no digits at half a turn."""
    r = rotation
    symmetric = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], 0, 0, 0],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], 0, 0],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0],
            [r[1, 0] - r[0, 1], r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    _, vectors = np.linalg.eigh(symmetric)
    q = vectors[:, -1]
    return (q if q[0] >= 0 else -q).tolist()
