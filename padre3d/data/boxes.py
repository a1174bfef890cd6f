"""Geometry of boxes in numpy: which points lie in a box, which boxes overlap in the BEV plane.

Boxes are rows ``(x, y, z, length, width, height, yaw, ...)`` with z at the BOTTOM, as mmdet3d's
``LiDARInstance3DBoxes`` holds them; yaw is counter-clockwise from +x.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def points_in_boxes(points: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """Indices (K,) of the points (N, >= 3) that lie in each box (M, >= 7), its faces included."""
    # Columns of their own are read several times faster than every fifth value.
    x, y = points[:, 0].copy(), points[:, 1].copy()
    return [_points_in_box(points, x, y, box) for box in boxes]


def _points_in_box(points: np.ndarray, x: np.ndarray, y: np.ndarray, box: np.ndarray) -> np.ndarray:
    centre, (length, width, height, yaw) = box[:3], (float(v) for v in box[3:7])
    radius = 0.5 * np.hypot(length, width)
    # The axis-aligned square around the box leaves few points for the exact test.
    near = np.flatnonzero(np.abs(x - x.dtype.type(centre[0])) <= radius)
    near = near[np.abs(y[near] - y.dtype.type(centre[1])) <= radius]
    offset = points[near, :3].astype(np.float64) - centre
    cos, sin = np.cos(yaw), np.sin(yaw)
    along = offset[:, 0] * cos + offset[:, 1] * sin
    across = offset[:, 1] * cos - offset[:, 0] * sin
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    return near[inside & (offset[:, 2] >= 0) & (offset[:, 2] <= height)]


def bev_corners(boxes: np.ndarray) -> np.ndarray:
    """Corners (N, 4, 2) of boxes (N, >= 7) in the BEV plane, in turn around the box."""
    unit = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    corners = unit * boxes[:, None, 3:5]
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    # Row vectors: the matrix is the transpose of the usual counter-clockwise rotation.
    rotation = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    return corners @ rotation + boxes[:, None, :2]


def bev_overlaps_any(box: np.ndarray, others: np.ndarray) -> bool:
    """Whether one box (>= 7,) overlaps any of the others (M, >= 7) in the BEV plane.

    Two rectangles are apart exactly where the direction of one of their four sides separates their
    projections (separating axis theorem). Touching counts as apart.
    """
    if len(others) == 0:
        return False
    mine = bev_corners(box[None])
    theirs = bev_corners(others)
    apart = np.zeros(len(others), dtype=bool)
    for yaw in (np.broadcast_to(box[6], len(others)), others[:, 6]):
        for angle in (yaw, yaw + np.pi / 2):
            axis = np.stack([np.cos(angle), np.sin(angle)], -1)[:, :, None]
            a = (mine @ axis)[..., 0]
            b = (theirs @ axis)[..., 0]
            apart |= (a.max(1) <= b.min(1)) | (b.max(1) <= a.min(1))
    return bool((~apart).any())


def box_fault(box: np.ndarray | Sequence[float]) -> str | None:
    """What is wrong with a box (>= 7,) of an annotation, or None.

    A network cannot learn a box whose numbers are not finite or whose sizes are not positive.
    """
    values = np.asarray(box[:7], float)
    if not np.isfinite(values).all():
        return "a number is not finite"
    if (values[3:6] <= 0).any():
        length, width, height = values[3:6]
        return f"length {length:g}, width {width:g}, height {height:g} are not all positive"
    return None
