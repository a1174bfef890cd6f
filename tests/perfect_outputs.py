"""Raw outputs of a head that is right about everything."""

import torch

from padre3d.head import HeadOutputs
from padre3d.head.box_coding import encode_boxes
from padre3d.structures.grid import PillarGrid

# Not square: 20 cells along x, 16 along y.
GRID = dict(range_m=(-10.0, -8.0, -3.0, 10.0, 8.0, 3.0), cell_m=(1.0, 1.0))


def outputs_that_say(boxes, labels, scores=None, num_classes=10):
    """Raw outputs of a perfect network: one proposal per box."""
    grid = PillarGrid(**GRID)
    n = len(boxes)
    codes = encode_boxes(boxes, grid)[None]
    rows = torch.arange(n, device=boxes.device)
    heat = boxes.new_zeros(1, n, num_classes)
    heat[0, rows, labels] = 1.0 if scores is None else scores
    logits = boxes.new_full((1, n, num_classes), -20.0)
    logits[0, rows, labels] = 20.0
    return HeadOutputs(
        center=codes[..., :2],
        height=codes[..., 2:3],
        dim=codes[..., 3:6],
        rot=codes[..., 6:8],
        vel=codes[..., 8:10],
        iou=boxes.new_ones(1, n, 1),
        heatmap=logits,
        query_heatmap_score=heat,
        dense_heatmap=boxes.new_zeros(1, num_classes, grid.ny, grid.nx),
        query_labels=labels[None],
        query_pos=codes[..., :2].floor() + 0.5,
    )
