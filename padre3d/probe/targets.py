"""What the probe has to predict for each pillar, by a rule on the annotated boxes.

A pillar belongs to a box if the box's footprint, enlarged by half a cell on each side, contains the
pillar's centre; where several do, the box whose centre is nearest wins. All others are background.
The half cell makes objects smaller than a cell (cones, pedestrians) own the pillar they stand in.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from padre3d.checks import check_shape


class PillarTargets(NamedTuple):
    """Truth of N pillars; rows of background pillars are zero except for ``label`` and ``box``.

    Attributes:
        label: (N,) int64 class; the number of classes means background.
        offset: (N, 2) from the pillar's centre to the box's centre, x and y in metres.
        heading: (N, 2) sine and cosine of the yaw.
        log_size: (N, 3) logarithm of length, width and height in metres.
        velocity: (N, 2) vx and vy in m/s; zero where unknown.
        velocity_known: (N,) bool; False for background.
        length: (N,) length of the box in metres.
        box: (N,) int64 row of the box; -1 for background.
    """

    label: Tensor
    offset: Tensor
    heading: Tensor
    log_size: Tensor
    velocity: Tensor
    velocity_known: Tensor
    length: Tensor
    box: Tensor


def assign_boxes(centres: Tensor, boxes: Tensor, cell_m: float) -> Tensor:
    """Row (N,) of the box that each pillar belongs to, -1 for none.

    Args:
        centres: (N, 2) x and y of the pillars' centres in metres.
        boxes: (M, >= 7) x, y, z, length, width, height, yaw, ...
        cell_m: side of a cell in metres.
    """
    if len(boxes) == 0:
        return torch.full((len(centres),), -1, dtype=torch.int64, device=centres.device)
    offset = centres[:, None] - boxes[None, :, :2]
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    half = (boxes[:, 3:5] + cell_m) / 2
    inside = (along.abs() <= half[:, 0]) & (across.abs() <= half[:, 1])
    squared = offset.square().sum(-1).masked_fill(~inside, torch.inf)
    nearest, row = squared.min(1)
    return torch.where(nearest.isfinite(), row, -1)


def pillar_targets(
    centres: Tensor, boxes: Tensor, labels: Tensor, cell_m: float, num_classes: int
) -> PillarTargets:
    """Truth of the pillars of one frame.

    Args:
        centres: (N, 2) x and y of the pillars' centres in metres.
        boxes: (M, 9) x, y, z, length, width, height, yaw, vx, vy; NaN velocities are unknown.
        labels: (M,) int64 classes.
        cell_m: side of a cell in metres.
        num_classes: number of classes without the background.
    """
    check_shape(centres, "N 2", name="centres")
    check_shape(boxes, f"{len(labels)} 9", name="boxes")
    row = assign_boxes(centres, boxes, cell_m)
    # A last row of zeros stands for the background.
    boxes = torch.cat([boxes, boxes.new_zeros(1, 9)])
    labels = torch.cat([labels, labels.new_full((1,), num_classes)])
    own, foreground = boxes[row], row >= 0
    column = foreground[:, None]
    known = foreground & own[:, 7:9].isfinite().all(1)
    heading = torch.stack([own[:, 6].sin(), own[:, 6].cos()], 1)
    return PillarTargets(
        label=labels[row],
        offset=torch.where(column, own[:, :2] - centres, 0.0),
        heading=torch.where(column, heading, 0.0),
        log_size=torch.where(column, own[:, 3:6], 1.0).log(),
        velocity=torch.where(known[:, None], own[:, 7:9], 0.0),
        velocity_known=known,
        length=own[:, 3],
        box=row,
    )
