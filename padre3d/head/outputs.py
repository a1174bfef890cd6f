"""What the head returns: the raw tensors of the network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadOutputs(NamedTuple):
    """Raw tensors of :class:`~padre3d.head.PADReTransFusionHead` for P proposals, float32.

    Attributes:
        center: (B, P, 2) box centre x, y in cells of the head map, origin at the range's minimum.
        height: (B, P, 1) z of the box's *top face* in metres.
        dim: (B, P, 3) log of length, width and height in metres.
        rot: (B, P, 2) sine and cosine of the yaw.
        vel: (B, P, 2) vx, vy in m/s.
        iou: (B, P, 1) predicted IoU, mapped to -1..1.
        heatmap: (B, P, classes) class logits.
        query_heatmap_score: (B, P, classes) heatmap probability in the proposal's cell, 0 where
            the class has no local maximum there.
        dense_heatmap: (B, classes, y, x) logits.
        query_labels: (B, P) int64 class each proposal was taken from.
        query_pos: (B, P, 2) x, y of the proposal's cell centre, in cells (x.5, y.5).
    """

    center: Tensor
    height: Tensor
    dim: Tensor
    rot: Tensor
    vel: Tensor
    iou: Tensor
    heatmap: Tensor
    query_heatmap_score: Tensor
    dense_heatmap: Tensor
    query_labels: Tensor
    query_pos: Tensor
