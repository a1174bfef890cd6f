"""Greedy non-maximum suppression of rotated boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.head.rotated_iou import bev_columns, pairwise_iou_bev


def rotated_nms(
    boxes: Tensor, scores: Tensor, iou_thr: float, max_kept: int, candidates: int | None = None
) -> Tensor:
    """Keep the best box, drop what overlaps it, and so on.

    Args:
        boxes: (K, 9) x, y, z, length, width, height, yaw, ...
        scores: (K,); equal scores keep their order.
        iou_thr: BEV IoU above which the lower box is dropped.
        max_kept: stop after so many.
        candidates: look at the best so many only; None: at all.

    Returns:
        Indices of the kept boxes, best first.
    """
    order = torch.argsort(scores, descending=True, stable=True)[:candidates]
    bev = bev_columns(boxes[order])
    overlaps = (pairwise_iou_bev(bev, bev) > iou_thr).cpu().numpy()
    kept: list[int] = []
    for candidate in range(len(overlaps)):
        if len(kept) == max_kept:
            break
        if not overlaps[candidate, kept].any():
            kept.append(candidate)
    return order[torch.tensor(kept, dtype=torch.int64).to(order.device, non_blocking=True)]
