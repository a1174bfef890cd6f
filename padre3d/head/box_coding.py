"""Between boxes in metres and the ten numbers the branches predict.

Ranges and cell sizes enter as plain numbers: a constant tensor made here would be copied to the
device, which waits for it, in every training step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.structures.grid import PillarGrid


def encode_boxes(boxes: Tensor, grid: PillarGrid) -> Tensor:
    """Boxes as regression targets.

    Args:
        boxes: (M, 9) x, y, z (gravity centre), length, width, height, yaw, vx, vy.
        grid: the head's map.

    Returns:
        (M, 10): x and y in cells, z of the top face (z + h/2) in metres, log of length, width and
        height, sine and cosine of the yaw, vx, vy.
    """
    yaw = boxes[:, 6:7]
    return torch.cat(
        (
            metres_to_cells(boxes[:, :2], grid),
            boxes[:, 2:3] + boxes[:, 5:6] / 2,
            boxes[:, 3:6].log(),
            torch.sin(yaw),
            torch.cos(yaw),
            boxes[:, 7:9],
        ),
        1,
    )


def decode_boxes(codes: Tensor, grid: PillarGrid) -> Tensor:
    """The inverse of :func:`encode_boxes`: codes (..., 10) to boxes (..., 9), gravity centre."""
    size = codes[..., 3:6].exp()
    return torch.cat(
        (
            codes[..., :1] * grid.cell_m[0] + grid.range_m[0],
            codes[..., 1:2] * grid.cell_m[1] + grid.range_m[1],
            codes[..., 2:3] - size[..., 2:3] / 2,
            size,
            torch.atan2(codes[..., 6:7], codes[..., 7:8]),
            codes[..., 8:10],
        ),
        -1,
    )


def metres_to_cells(xy: Tensor, grid: PillarGrid) -> Tensor:
    """Positions (..., 2) in metres to cells of the map; the first cell spans 0..1."""
    axes = [(xy[..., i] - grid.range_m[i]) / grid.cell_m[i] for i in range(2)]
    return torch.stack(axes, -1)


def lift(boxes: Tensor) -> Tensor:
    """Boxes raised by half their own height, as the reference compares them in its IoUs."""
    z = boxes[..., 2:3] + boxes[..., 5:6] / 2
    return torch.cat((boxes[..., :2], z, boxes[..., 3:]), -1)
