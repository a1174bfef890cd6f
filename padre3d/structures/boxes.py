"""Detected or annotated boxes of one frame, and the check that they are boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Detections(NamedTuple):
    """Boxes of one frame, as tensors inside the network and as arrays outside of it.

    Attributes:
        boxes: (K, 9) rows (x, y, z, length, width, height, yaw, vx, vy): gravity centre in the
            LiDAR frame, metres, radians counter-clockwise from +x, m/s.
        scores: (K,) in 0..1; 1 for annotated boxes, which have none.
        labels: (K,) int64 rows of the class names.
    """

    boxes: Any
    scores: Any
    labels: Any

    @classmethod
    def empty(cls) -> Detections:
        """No box, as arrays."""
        return cls(np.zeros((0, 9)), np.zeros(0), np.zeros(0, np.int64))

    def select(self, rows: Any) -> Detections:
        """The boxes of a mask (K,) or of row numbers, in their order."""
        return Detections(*(values[rows] for values in self))

    def best_first(self) -> Detections:
        """Arrays by falling score; equal scores keep their order."""
        return self.select(np.argsort(-self.scores, kind="stable"))


def box_arrays(detections: Any, class_names: Sequence[str]) -> Detections:
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
    return Detections(boxes, scores, labels)


def _to_numpy(values: Any, dtype: type) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
        values = values.numpy()
    return np.asarray(values).astype(dtype)
