"""Greedy rotated NMS against its definition."""

import torch

from padre3d.head.nms import rotated_nms
from padre3d.head.rotated_iou import bev_columns, pairwise_iou_bev


def random_boxes(n, seed, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(n, 9, generator=generator) * 3
    boxes[:, 3:6] += 0.5
    return boxes.to(device), torch.rand(n, generator=generator).to(device)


def test_kept_boxes_follow_the_definition(device):
    boxes, scores = random_boxes(80, 0, device)
    overlaps = pairwise_iou_bev(bev_columns(boxes), bev_columns(boxes))
    kept = []
    for i in sorted(range(80), key=lambda i: -scores[i].item()):
        if all(overlaps[i, j] <= 0.175 for j in kept):
            kept.append(i)
    found = rotated_nms(boxes, scores, 0.175, 100)
    assert found.tolist() == kept
    assert 5 < len(kept) < 60
    assert rotated_nms(boxes, scores, 0.175, 4).tolist() == kept[:4]


def test_threshold_is_exclusive_and_ties_keep_their_order():
    box = torch.tensor([0.0, 0, 0, 2, 2, 2, 0, 0, 0])
    half = box + torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0, 0])  # IoU 1/3
    boxes, scores = torch.stack((box, half)), torch.tensor([0.5, 0.5])
    assert rotated_nms(boxes, scores, 0.34, 10).tolist() == [0, 1]
    assert rotated_nms(boxes, scores, 0.33, 10).tolist() == [0]
    assert rotated_nms(boxes[:0], scores[:0], 0.3, 10).tolist() == []
