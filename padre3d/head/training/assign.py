"""Hungarian matching of proposals and ground-truth boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from padre3d.head.box_coding import lift
from padre3d.head.rotated_iou import pairwise_iou_3d
from padre3d.head.settings import TargetSettings
from padre3d.structures.grid import PillarGrid

# Cost of a pair whose true cost is not finite: matched only if nothing else is left.
_FORBIDDEN_COST = 1e6


class MatchingCosts(NamedTuple):
    """Weighted cost terms (P, M) and the IoU (P, M) behind the third, whose cost is -w * IoU."""

    classification: Tensor
    centre: Tensor
    iou: Tensor
    total: Tensor


def matching_costs(
    boxes: Tensor,
    logits: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    grid: PillarGrid,
    settings: TargetSettings,
    lifted: bool = False,
) -> MatchingCosts:
    """Costs of matching P proposals with M boxes.

    Args:
        boxes: (P, 9) decoded proposals, gravity centre, metres.
        logits: (P, classes).
        gt_boxes, gt_labels: (M, 9) and (M,).
        grid: its range normalises the L1 distance of the centres.
        settings: weights.
        lifted: compare boxes raised by half their own height, as the reference does.
    """
    probability = logits.sigmoid()[:, gt_labels]
    alpha, gamma, eps = settings.focal_alpha, settings.focal_gamma, settings.focal_eps
    positive = -(probability + eps).log() * alpha * (1 - probability) ** gamma
    negative = -(1 - probability + eps).log() * (1 - alpha) * probability**gamma
    classification = (positive - negative) * settings.cls_cost

    distance = (boxes[:, None, :2] - gt_boxes[None, :, :2]).abs()
    extent_x, extent_y = grid.nx * grid.cell_m[0], grid.ny * grid.cell_m[1]
    centre = (distance[..., 0] / extent_x + distance[..., 1] / extent_y) * settings.reg_cost

    iou = pairwise_iou_3d(*((lift(boxes), lift(gt_boxes)) if lifted else (boxes, gt_boxes)))
    return MatchingCosts(
        classification, centre, iou, classification + centre - iou * settings.iou_cost
    )


def match(costs: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one matching of a cost matrix (P, M).

    Costs that are not finite (an overflow in half precision) are replaced by a very large one:
    the loss then shows the overflow to the gradient scaler, the matching does not stop the run.

    Returns:
        Matched rows and columns, both (min(P, M),) int64 on the device of ``costs``. This is the
        head's only wait for the device in training apart from the check of the ground truth.
    """
    host = torch.nan_to_num(
        costs.detach().float().cpu(),
        nan=_FORBIDDEN_COST,
        posinf=_FORBIDDEN_COST,
        neginf=_FORBIDDEN_COST,
    )
    rows, columns = linear_sum_assignment(host.numpy())
    pairs = torch.stack((torch.from_numpy(rows), torch.from_numpy(columns)))
    pairs = pairs.to(costs.device, torch.int64, non_blocking=True)
    return pairs[0], pairs[1]
