"""Targets of the dense heatmap: one gaussian per box, drawn without a loop over boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.head.box_coding import metres_to_cells
from padre3d.structures.grid import PillarGrid


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Radius (cells) by which both corners of a box may move and keep an IoU of ``min_overlap``.

    Three cases (one box inside, around, or beside the other) give three quadratic equations. As in
    the reference, and in CornerNet's first release, every root is divided by 2 instead of 2a.
    """
    total, area, iou = length + width, length * width, min_overlap
    roots = []
    for a, b, c in (
        (1.0, total, area * (1 - iou) / (1 + iou)),
        (4.0, 2 * total, (1 - iou) * area),
        (4 * iou, -2 * iou * total, (iou - 1) * area),
    ):
        roots.append((b + (b.square() - 4 * a * c).sqrt()) / 2)
    return torch.stack(roots).amin(0)


def draw_heatmap(
    boxes: Tensor,
    labels: Tensor,
    grid: PillarGrid,
    num_classes: int,
    min_overlap: float,
    min_radius: int,
) -> Tensor:
    """Heatmap targets of one sample.

    Args:
        boxes: (M, >= 5) x, y, z, length, width, ... in metres; a centre outside the map draws
            nothing.
        labels: (M,) int64.
        grid: the head's map.
        num_classes: channels.
        min_overlap, min_radius: see :class:`~padre3d.head.settings.TargetSettings`.

    Returns:
        (classes, y, x): 1 in the cell of a centre, the largest gaussian elsewhere, 0 beyond the
        radius; sigma = (2 radius + 1) / 6.
    """
    heatmap = boxes.new_zeros(num_classes, grid.num_cells)
    if len(boxes) == 0:
        return heatmap.view(num_classes, grid.ny, grid.nx)
    length, width = boxes[:, 3] / grid.cell_m[0], boxes[:, 4] / grid.cell_m[1]
    radius = gaussian_radius(length, width, min_overlap).trunc().clamp_min(min_radius)
    centre = metres_to_cells(boxes[:, :2], grid)
    inside = (centre >= 0).all(1) & (centre[:, 0] < grid.nx) & (centre[:, 1] < grid.ny)
    centre = centre.trunc()
    along_x = _bell(centre[:, 0], radius, grid.nx)
    along_y = _bell(centre[:, 1], radius, grid.ny) * inside[:, None]
    bells = (along_y[:, :, None] * along_x[:, None]).flatten(1)
    heatmap.scatter_reduce_(0, labels[:, None].expand_as(bells), bells, "amax")
    return heatmap.view(num_classes, grid.ny, grid.nx)


def _bell(centre: Tensor, radius: Tensor, size: int) -> Tensor:
    """One axis (M, size) of the gaussians, which are products of their axes."""
    distance = torch.arange(size, device=centre.device, dtype=centre.dtype) - centre[:, None]
    sigma = ((2 * radius + 1) / 6)[:, None]
    bell = torch.exp(-distance.square() / (2 * sigma.square()))
    return bell * (distance.abs() <= radius[:, None])
