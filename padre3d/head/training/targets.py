"""Training targets: which proposal answers for which box, and what it should predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from padre3d.head.box_coding import encode_boxes
from padre3d.head.settings import TargetSettings
from padre3d.head.training.assign import match, matching_costs
from padre3d.head.training.heatmap import draw_heatmap
from padre3d.structures.grid import PillarGrid


class Targets(NamedTuple):
    """Targets of a batch.

    Attributes:
        labels: (B, P) int64 class of each proposal; ``num_classes`` is background.
        codes: (B, P, 10) box codes of the matched boxes, 0 for background.
        weights: (B, P, 10) 1 where a code counts: 0 for background and for unknown velocities.
        matched: (B, P) int64 row of the matched box, -1 for background.
        heatmap: (B, classes, y, x).
        num_matched: number of matched proposals of the batch.
        matched_iou: mean over the samples of the mean 3-D IoU of the matched proposals.
    """

    labels: Tensor
    codes: Tensor
    weights: Tensor
    matched: Tensor
    heatmap: Tensor
    num_matched: int
    matched_iou: Tensor


def check_ground_truth(
    boxes: Sequence[Tensor], labels: Sequence[Tensor], batch_size: int, num_classes: int
) -> None:
    """Refuse ground truth the losses are not defined for.

    Raises:
        ValueError: for another number of samples, other columns than 9, labels that do not belong
            to the boxes or are out of range, a size that is not positive, values not finite
            (velocities may be NaN: unknown).
    """
    if len(boxes) != batch_size or len(labels) != batch_size:
        raise ValueError(
            f"PADReTransFusionHead.loss: expected {batch_size} samples of gt_boxes and gt_labels, "
            f"got {len(boxes)} and {len(labels)}"
        )
    for sample, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        if box.dim() != 2 or box.shape[1] != 9:
            raise ValueError(
                "PADReTransFusionHead.loss: expected gt_boxes of shape (M, 9) = x, y, z, length, "
                f"width, height, yaw, vx, vy, got {tuple(box.shape)} in sample {sample}"
            )
        if label.shape != box.shape[:1] or label.is_floating_point():
            raise ValueError(
                f"head.loss: expected {len(box)} integer gt_labels in sample {sample}, "
                f"got shape {tuple(label.shape)} of {label.dtype}"
            )
    box, label = torch.cat(list(boxes)), torch.cat(list(labels))
    in_range = ((label >= 0) & (label < num_classes)).all()
    valid = (torch.isfinite(box[:, :7]).all(1) & (box[:, 3:6] > 0).all(1)).all()
    labels_fine, boxes_fine = torch.stack((in_range, valid)).tolist()
    if not labels_fine:
        raise ValueError(
            f"PADReTransFusionHead.loss: expected gt_labels in 0..{num_classes - 1}, "
            f"got {int(label.min())}..{int(label.max())}"
        )
    if not boxes_fine:
        raise ValueError(
            "head.loss: expected finite gt_boxes with positive sizes, got a box that is not"
        )


def build_targets(
    boxes: Tensor,
    logits: Tensor,
    gt_boxes: Sequence[Tensor],
    gt_labels: Sequence[Tensor],
    grid: PillarGrid,
    settings: TargetSettings,
    lifted: bool = False,
) -> Targets:
    """Match every sample and encode its targets.

    Args:
        boxes: (B, P, 9) decoded proposals.
        logits: (B, P, classes).
        gt_boxes, gt_labels: per sample (M_b, 9) and (M_b,); M_b may be 0.
        grid, settings, lifted: see :func:`~padre3d.head.training.assign.matching_costs`.
    """
    batch, num_proposals, num_classes = logits.shape
    labels = torch.full((batch, num_proposals), num_classes, device=logits.device)
    matched = torch.full_like(labels, -1)
    codes = boxes.new_zeros(batch, num_proposals, 10)
    weights = torch.zeros_like(codes)
    heatmaps, ious, num_matched = [], [], 0
    for sample, (gt, gt_label) in enumerate(zip(gt_boxes, gt_labels, strict=True)):
        heatmaps.append(
            draw_heatmap(
                gt, gt_label, grid, num_classes, settings.gaussian_overlap, settings.min_radius
            )
        )
        if len(gt) == 0:
            ious.append(boxes.new_zeros(()))
            continue
        costs = matching_costs(boxes[sample], logits[sample], gt, gt_label, grid, settings, lifted)
        rows, columns = match(costs.total)
        code = encode_boxes(gt, grid)[columns]
        labels[sample, rows] = gt_label[columns]
        matched[sample, rows] = columns
        codes[sample, rows] = torch.nan_to_num(code)
        weights[sample, rows] = torch.isfinite(code).to(weights.dtype)
        ious.append(costs.iou[rows, columns].mean())
        num_matched += len(rows)
    return Targets(
        labels,
        codes,
        weights,
        matched,
        torch.stack(heatmaps),
        num_matched,
        torch.stack(ious).mean(),
    )
