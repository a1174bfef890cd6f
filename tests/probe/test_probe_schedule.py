"""Data order and augmentation."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from probe_frames import small_frame

from padre3d.probe.schedule import Draw, Schedule, as_tensors, augment
from padre3d.probe.targets import assign_boxes


def test_seed_decides_and_frames_are_used_equally_often():
    a, b, other = Schedule(0, 30, 2, 7), Schedule(0, 30, 2, 7), Schedule(1, 30, 2, 7)
    assert a.steps == b.steps != other.steps
    counts = Counter(draw.frame for step in a.steps for draw in step)
    assert set(counts) == set(range(7))
    assert max(counts.values()) - min(counts.values()) <= 1
    angles = [draw.angle for step in a.steps for draw in step]
    assert -0.39 <= min(angles) < -0.2
    assert 0.2 < max(angles) <= 0.39
    assert {draw.flip for step in a.steps for draw in step} == {True, False}


def test_schedule_does_not_touch_global_generators():
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    Schedule(5, 3, 2, 4)
    assert (torch.rand(1), np.random.rand()) == expected


def test_turn_is_counter_clockwise_and_flip_mirrors_y():
    frame = as_tensors(small_frame(0))
    boxes = frame.boxes.clone()
    boxes[0, :2], boxes[0, 6], boxes[0, 7:] = (
        torch.tensor([2.0, 0.0]),
        0.1,
        torch.tensor([1.0, 0.0]),
    )
    turned = augment(frame._replace(boxes=boxes), Draw(0, math.pi / 2, False)).boxes[0]
    assert turned[:2].tolist() == pytest.approx([0.0, 2.0], abs=1e-6)
    assert turned[6].item() == pytest.approx(0.1 + math.pi / 2)
    assert turned[7:].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    both = augment(frame._replace(boxes=boxes), Draw(0, math.pi / 2, True)).boxes[0]
    assert both[:2].tolist() == pytest.approx([0.0, -2.0], abs=1e-6)
    assert both[6].item() == pytest.approx(-0.1 - math.pi / 2)
    assert both[7:].tolist() == pytest.approx([0.0, -1.0], abs=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_points_stay_in_their_boxes(flip):
    frame = as_tensors(small_frame(3))
    before = frame.points.clone()
    moved = augment(frame, Draw(0, 0.37, flip))
    # Away from the border, where rounding may decide.
    inside = [assign_boxes(f.points[:, :2], f.boxes, 0.01) for f in (frame, moved)]
    assert (inside[0] == inside[1]).float().mean() > 0.98
    assert (inside[0] >= 0).sum() >= 120
    assert torch.equal(frame.points, before)
    assert torch.equal(moved.points[:, 2:], before[:, 2:])
    assert torch.equal(moved.boxes[:, 3:6], frame.boxes[:, 3:6])
