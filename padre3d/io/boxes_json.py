"""Boxes out: the JSON form of detections, and back.

A file is ``{"boxes": [{"name", "score", "center_m", "size_lwh_m", "yaw_rad", "velocity_mps"}]}``:
LiDAR frame, gravity centre, yaw counter-clockwise from +x. A velocity nobody knows (nuScenes cannot
tell it for objects seen once) is NaN in arrays and null in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.io.files import write_atomic
from padre3d.structures.boxes import Detections, box_arrays

DIGITS = 4
IGNORED = "ignore"
# What a record of another tool may raise while it is taken apart.
FAULTS = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


def boxes_to_json(detections: Any, class_names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The JSON form of one frame's detections, floats rounded to 4 digits.

    Args:
        detections: boxes (K, 9), scores (K,), labels (K,) as tensors or arrays.
        class_names: the names the labels count.

    Raises:
        ValueError: as :func:`box_arrays`.
    """
    boxes, scores, labels = box_arrays(detections, class_names)
    rounded = np.round(boxes, DIGITS).tolist()
    return {
        "boxes": [
            {
                "name": class_names[label],
                "score": round(float(score), DIGITS),
                "center_m": row[:3],
                "size_lwh_m": row[3:6],
                "yaw_rad": row[6],
                "velocity_mps": [None if np.isnan(v) else v for v in row[7:9]],
            }
            for row, score, label in zip(rounded, scores, labels, strict=True)
        ]
    }


def write_boxes_json(path: str | Path, detections: Any, class_names: Sequence[str]) -> None:
    """Write one frame's detections; a reader never sees half a file.

    Raises:
        ValueError: as :func:`box_arrays`; nothing is written then.
    """
    content = json.dumps(boxes_to_json(detections, class_names), indent=1, allow_nan=False)
    write_atomic(path, content + "\n")


def read_boxes_json(
    path: str | Path,
    class_names: Sequence[str],
    *,
    min_lidar_pts: int = 0,
    skip_others: bool = False,
) -> Detections:
    """Read detections or an annotation.

    Args:
        path: a file that :func:`write_boxes_json` wrote, or an annotated frame, whose boxes have
            no score but may have ``num_lidar_pts``. A ``velocity_mps`` may be missing: unknown.
        class_names: the names to turn into labels; annotated boxes named ``ignore`` (objects
            outside the ten detection classes) are left out.
        min_lidar_pts: leave out annotated boxes with fewer points.
        skip_others: leave out boxes of other classes too, where they are an error otherwise.

    Raises:
        ValueError: if it is not such a file, or a box has another class, a missing key or a wrong
            number of values.
    """
    path = Path(path)
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))["boxes"]
        if not isinstance(records, list):
            raise TypeError(f"no list but {type(records).__name__}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{path}: expected JSON with a list "boxes", got {error!r}') from error
    names, rows = list(class_names), []
    for number, record in enumerate(records):
        try:
            name = record["name"]
            points = float(record.get("num_lidar_pts", min_lidar_pts))
            if name == IGNORED or points < min_lidar_pts or (skip_others and name not in names):
                continue
            rows.append((*_box(record), float(record.get("score", 1.0)), names.index(name)))
        except FAULTS as error:
            raise ValueError(f"{path}: box {number} of {len(records)}: {error!r}") from error
    table = np.array(rows, np.float64).reshape(-1, 11)
    try:
        found = Detections(table[:, :9], table[:, 9], table[:, 10].astype(np.int64))
        return box_arrays(found, class_names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _box(record: Mapping[str, Any]) -> list[float]:
    """The nine numbers of a box; a velocity that is null or not there is unknown."""
    velocity = record.get("velocity_mps")
    velocity = (None, None) if velocity is None else velocity
    return [
        *_numbers(record["center_m"], 3),
        *_numbers(record["size_lwh_m"], 3),
        float(record["yaw_rad"]),
        *_numbers([np.nan if v is None else v for v in velocity], 2),
    ]


def _numbers(values: Any, count: int) -> list[float]:
    if len(values) != count:
        raise ValueError(f"expected {count} numbers, got {values}")
    return [float(v) for v in values]
