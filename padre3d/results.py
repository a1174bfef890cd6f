"""Boxes out: the JSON form of detections, and back.

A file is ``{"boxes": [{"name", "score", "center_m", "size_lwh_m", "yaw_rad", "velocity_mps"}]}``:
LiDAR frame, gravity centre, yaw counter-clockwise from +x. A velocity nobody knows (nuScenes cannot
tell it for objects seen once) is NaN in arrays and null in JSON.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DIGITS = 4
IGNORED = "ignore"


class BoxArrays(NamedTuple):
    """Boxes as arrays.

    Attributes:
        boxes: (K, 9) float64 rows (x, y, z, length, width, height, yaw, vx, vy): gravity centre in
            the LiDAR frame, metres, radians, m/s.
        scores: (K,) float64; 1 for annotated boxes, which have none.
        labels: (K,) int64 rows of the class names.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def box_arrays(detections: Any, class_names: Sequence[str]) -> BoxArrays:
    """Check and convert anything with ``boxes``, ``scores`` and ``labels``.

    Args:
        detections: boxes (K, 9), scores (K,), labels (K,) as tensors or arrays.
        class_names: the names the labels count.

    Raises:
        ValueError: if shapes disagree, a number is not finite (a velocity may be NaN), a size is
            not positive, a label is no whole number or has no name.
    """
    boxes = _to_numpy(detections.boxes, np.float64)
    scores = _to_numpy(detections.scores, np.float64)
    given = _to_numpy(detections.labels, np.float64)
    labels = given.astype(np.int64)
    if (labels != given).any():
        raise ValueError(f"labels: expected whole numbers, got {given[labels != given][0]}")
    if boxes.ndim != 2 or boxes.shape[1] != 9:
        raise ValueError(f"boxes: expected shape (K, 9), got {boxes.shape}")
    for name, values in (("scores", scores), ("labels", labels)):
        if values.shape != (len(boxes),):
            raise ValueError(f"{name}: expected shape ({len(boxes)},), got {values.shape}")
    good = np.isfinite(boxes[:, :7]).all(1) & ~np.isinf(boxes[:, 7:]).any(1)
    bad = ~(good & np.isfinite(scores) & (boxes[:, 3:6] > 0).all(1))
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"boxes: expected finite numbers and positive sizes, got {boxes[first].tolist()} with "
            f"score {scores[first]} at row {first} ({int(bad.sum())} such rows)"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(class_names)):
        raise ValueError(
            f"labels: expected 0 to {len(class_names) - 1}, got {labels.min()} to {labels.max()}"
        )
    return BoxArrays(boxes, scores, labels)


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


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside ``path`` and move it there in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        # mkstemp makes files private; give this one the permissions a plain open would.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_boxes_json(
    path: str | Path, class_names: Sequence[str], *, min_lidar_pts: int = 0
) -> BoxArrays:
    """Read detections or an annotation.

    Args:
        path: a file that :func:`write_boxes_json` wrote, or an annotated frame, whose boxes have
            no score but may have ``num_lidar_pts``.
        class_names: the names to turn into labels; annotated boxes named ``ignore`` (objects
            outside the ten detection classes) are left out.
        min_lidar_pts: leave out annotated boxes with fewer points.

    Raises:
        ValueError: if it is not such a file, or a box has another class, a missing key or a wrong
            number of values.
    """
    path = Path(path)
    try:
        records = json.loads(path.read_text())["boxes"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: expected JSON with a list "boxes", got {error!r}') from error
    records = [
        record
        for record in records
        if record.get("name") != IGNORED
        and record.get("num_lidar_pts", min_lidar_pts) >= min_lidar_pts
    ]
    boxes = np.zeros((len(records), 9))
    labels = np.zeros(len(records), np.int64)
    for row, record in enumerate(records):
        try:
            boxes[row] = (
                *_numbers(record["center_m"], 3),
                *_numbers(record["size_lwh_m"], 3),
                float(record["yaw_rad"]),
                *_numbers([np.nan if v is None else v for v in record["velocity_mps"]], 2),
            )
            labels[row] = list(class_names).index(record["name"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: box {row} of {len(records)}: {error!r}") from error
    scores = np.array([r.get("score", 1.0) for r in records], np.float64)
    try:
        return box_arrays(BoxArrays(boxes, scores, labels), class_names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _numbers(values: Any, count: int) -> list[float]:
    if len(values) != count:
        raise ValueError(f"expected {count} numbers, got {values}")
    return [float(v) for v in values]


def _to_numpy(values: Any, dtype: type) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
        values = values.numpy()
    return np.asarray(values).astype(dtype)
