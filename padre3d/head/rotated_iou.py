"""Overlap of rotated boxes, without sorting, loops or data-dependent shapes.

The area of a polygon is the contour integral ``1/2 * sum of cross(start, end)`` of its edges
(Green's theorem). The contour of the intersection of two rectangles is made of the edges of the
first clipped to the second and the edges of the second clipped to the first. Clipping a segment to
a rectangle is two intervals in the rectangle's own frame (Liang and Barsky, 1984).

Edges that coincide would be counted twice or not at all. So the second rectangle is grown by a
nanometre, and everything is computed in float64, where that is far above the rounding error.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GROWTH_M = 1e-9
_TINY = 1e-300


def _edges_in_frame(box: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Corners of ``box`` and the edges from them, in the axes of ``frame``.

    Args:
        box, frame: (..., 5) x, y, length, width, yaw.

    Returns:
        Corners (..., 4, 2), counter-clockwise, and edge vectors (..., 4, 2).
    """
    shift = box[..., :2] - frame[..., :2]
    cos_f, sin_f = torch.cos(frame[..., 4]), torch.sin(frame[..., 4])
    x = shift[..., 0] * cos_f + shift[..., 1] * sin_f
    y = shift[..., 1] * cos_f - shift[..., 0] * sin_f
    turn = box[..., 4] - frame[..., 4]
    cos, sin = torch.cos(turn)[..., None], torch.sin(turn)[..., None]
    along, across = box[..., 2] / 2, box[..., 3] / 2
    along = torch.stack((along, -along, -along, along), -1)
    across = torch.stack((across, across, -across, -across), -1)
    corners = torch.stack(
        (x[..., None] + along * cos - across * sin, y[..., None] + along * sin + across * cos), -1
    )
    return corners, corners.roll(-1, -2) - corners


def _share_inside(start: Tensor, edge: Tensor, frame: Tensor) -> Tensor:
    """Share (..., 4) in 0..1 of each edge inside the rectangle that owns the axes."""
    half = frame[..., None, 2:4] / 2
    edge = torch.where(edge == 0, torch.full_like(edge, _TINY), edge)
    at_low, at_high = (-half - start) / edge, (half - start) / edge
    enter = torch.minimum(at_low, at_high).amax(-1).clamp_min(0)
    leave = torch.maximum(at_low, at_high).amin(-1).clamp_max(1)
    return (leave - enter).clamp_min(0)


def bev_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Intersection areas of rotated rectangles, element by element.

    Args:
        a, b: (..., 5) x, y, length, width, yaw; shapes broadcast. Negative sizes count as 0.

    Returns:
        Areas (...) in float64.
    """
    a, b = torch.broadcast_tensors(a.double(), b.double())
    a = torch.cat((a[..., :2], a[..., 2:4].clamp_min(0), a[..., 4:]), -1)
    b = torch.cat((b[..., :2], b[..., 2:4].clamp_min(0) + 2 * _GROWTH_M, b[..., 4:]), -1)
    start, edge = _edges_in_frame(a, b)
    cross = start[..., 0] * edge[..., 1] - start[..., 1] * edge[..., 0]
    of_a = (_share_inside(start, edge, b) * cross).sum(-1)
    # Seen from its own centre, every edge of b spans a quarter of b.
    of_b = _share_inside(*_edges_in_frame(b, a), a).sum(-1) * b[..., 2] * b[..., 3] / 2
    area = ((of_a + of_b) / 2).clamp_min(0)
    return torch.minimum(area, torch.minimum(a[..., 2] * a[..., 3], b[..., 2] * b[..., 3]))


def _ratio(intersection: Tensor, size_a: Tensor, size_b: Tensor, dtype: torch.dtype) -> Tensor:
    size_a, size_b = size_a.double(), size_b.double()
    intersection = torch.minimum(intersection, torch.minimum(size_a, size_b))
    iou = intersection / (size_a + size_b - intersection).clamp_min(1e-12)
    return torch.nan_to_num(iou, nan=0.0, posinf=0.0).clamp(0, 1).to(dtype)


def bev_columns(boxes: Tensor) -> Tensor:
    """Columns x, y, length, width, yaw of boxes (..., >= 7) with z and height between them."""
    return torch.cat((boxes[..., :2], boxes[..., 3:5], boxes[..., 6:7]), -1)


def aligned_iou_bev(a: Tensor, b: Tensor) -> Tensor:
    """Bird's-eye-view IoU (...) of boxes (..., 5) ``x, y, length, width, yaw``, one by one."""
    inter = bev_intersection(a, b)
    size_a, size_b = (box[..., 2:4].double().clamp_min(0).prod(-1) for box in (a, b))
    return _ratio(inter, size_a, size_b, a.dtype)


def pairwise_iou_bev(a: Tensor, b: Tensor) -> Tensor:
    """Bird's-eye-view IoU (K, M) of boxes (K, 5) and (M, 5) ``x, y, length, width, yaw``."""
    return aligned_iou_bev(a[:, None], b[None])


def aligned_iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Volume IoU of upright boxes, one by one.

    Args:
        a, b: (..., >= 7) x, y, z (gravity centre), length, width, height, yaw; shapes broadcast.

    Returns:
        (...) in 0..1, 0 where a box is not finite. IoU = (BEV overlap x height overlap) / union.
    """
    inter = bev_intersection(bev_columns(a), bev_columns(b))
    za, zb = a[..., 2].double(), b[..., 2].double()
    ha, hb = a[..., 5].double().clamp_min(0), b[..., 5].double().clamp_min(0)
    top = torch.minimum(za + ha / 2, zb + hb / 2)
    overlap = (top - torch.maximum(za - ha / 2, zb - hb / 2)).clamp_min(0)
    overlap = torch.minimum(overlap, torch.minimum(ha, hb))
    size_a, size_b = (box[..., 3:6].double().clamp_min(0).prod(-1) for box in (a, b))
    return _ratio(inter * overlap, size_a, size_b, a.dtype)


def pairwise_iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """Volume IoU (K, M) of boxes (K, >= 7) and (M, >= 7); see :func:`aligned_iou_3d`."""
    return aligned_iou_3d(a[:, None], b[None])
