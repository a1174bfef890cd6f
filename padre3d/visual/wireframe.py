"""Boxes in three dimensions as lines, and what is said of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from padre3d.structures.boxes import Detections

NOSE_M = 0.8
# Corners: 0-3 at the bottom (front left, rear left, rear right, front right), 4-7 above them,
# 8 the centre, 9 the nose; -1 lifts the pen. The front has a cross, so that it shows from behind.
EDGES = (0, 1, 2, 3, 0, 4, 5, 6, 7, 4, -1, 1, 5, -1, 2, 6, -1, 3, 7, -1)
CROSS = (0, 7, -1, 3, 4, -1)
CENTRE = (8, -1)
NOSE = (8, 9, -1)
PEN = EDGES + CENTRE + CROSS + NOSE


def box_lines(boxes: np.ndarray, headed: np.ndarray | bool = True) -> np.ndarray:
    """The edges of boxes and the mark of their heading as one line a box.

    Args:
        boxes: (K, >= 7) rows (x, y, z, length, width, height, yaw, ...).
        headed: (K,) which boxes have a heading; the others get no cross and no nose.

    Returns:
        (K, len(PEN), 3) points in m; a row of NaN lifts the pen.
    """
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    zero, one = np.zeros_like(cos), np.ones_like(cos)
    forward, left = np.stack([cos, sin, zero], 1), np.stack([-sin, cos, zero], 1)
    up = np.stack([zero, zero, one], 1)
    centre, half = boxes[:, :3], boxes[:, 3:6] / 2
    signs = [(a, b, c) for c in (-1, 1) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    nodes = [
        centre + a * half[:, :1] * forward + b * half[:, 1:2] * left + c * half[:, 2:] * up
        for a, b, c in signs
    ]
    nodes += [centre, centre + (half[:, :1] + NOSE_M) * forward, np.full_like(centre, np.nan)]
    lines = np.stack(nodes, 1)[:, PEN]
    lines[~np.broadcast_to(headed, len(boxes)), len(EDGES + CENTRE) :] = np.nan
    return lines


def box_texts(shown: Detections, class_names: Sequence[str], with_scores: bool) -> list[str]:
    """What hovering over a box says: name, score, size, speed, range.

    Args:
        shown: boxes (K, 9), scores (K,), labels (K,).
        class_names: the names the labels count.
        with_scores: false for annotated boxes.
    """
    return [
        _text(box, class_names[label], float(score) if with_scores else None)
        for box, score, label in zip(shown.boxes, shown.scores, shown.labels, strict=True)
    ]


def _text(box: np.ndarray, name: str, score: float | None) -> str:
    length, width, height = box[3:6]
    speed, distance = np.hypot(*box[7:9]), np.hypot(*box[:2])
    said = "unknown" if np.isnan(speed) else f"{speed:.1f} m/s"
    kind = "ground truth" if score is None else f"score {score:.2f}"
    return (
        f"{name.replace('_', ' ')}, {kind}<br>{length:.1f} x {width:.1f} x {height:.1f} m, "
        f"speed {said}<br>{distance:.0f} m away, yaw {np.rad2deg(box[6]):.0f}°"
    )
