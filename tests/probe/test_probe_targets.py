"""Which pillar belongs to which box, on boxes made by hand."""

import math

import pytest
import torch

from padre3d.probe.targets import assign_boxes, pillar_targets

CELL = 1.0


def box(x, y, length=4.0, width=2.0, yaw=0.0, velocity=(0.0, 0.0)):
    return [x, y, 0.0, length, width, 1.5, yaw, *velocity]


def assigned(centres, boxes):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 9)
    return assign_boxes(torch.tensor(centres, dtype=torch.float32), rows, CELL).tolist()


def test_footprint_grows_by_half_a_cell():
    centres = [[2.45, 0.0], [2.55, 0.0], [0.0, 1.45], [0.0, 1.55], [2.45, 1.45]]
    assert assigned(centres, [box(0, 0)]) == [0, -1, 0, -1, 0]


def test_footprint_turns_with_the_box():
    centres = [[0.0, 2.4], [2.4, 0.0], [1.4, 0.0]]
    assert assigned(centres, [box(0, 0, yaw=math.pi / 2)]) == [0, -1, 0]
    # At 45 degrees the long side points to (1, 1), not to (1, -1).
    assert assigned([[1.6, 1.6], [1.6, -1.6]], [box(0, 0, yaw=math.pi / 4)]) == [0, -1]


def test_nearest_centre_wins_whatever_the_order():
    boxes = [box(0, 0, length=8.0), box(3.0, 0, length=2.0)]
    assert assigned([[1.4, 0.0], [1.6, 0.0], [-3.0, 0.0]], boxes) == [0, 1, 0]
    assert assigned([[1.4, 0.0], [1.6, 0.0], [-3.0, 0.0]], boxes[::-1]) == [1, 0, 1]


def test_a_cone_owns_the_pillar_it_stands_in_wherever_it_stands():
    for x in (-0.49, 0.0, 0.49):
        assert assigned([[0.0, 0.0]], [box(x, 0.3, length=0.3, width=0.3)]) == [0]


def test_without_boxes_or_pillars():
    assert assigned([[0.0, 0.0]], []) == [-1]
    empty = pillar_targets(torch.zeros(0, 2), torch.tensor([box(0, 0)]), torch.tensor([0]), CELL, 3)
    assert len(empty.label) == 0


def test_values():
    centres = torch.tensor([[9.0, 9.0], [1.0, 0.5]])
    boxes = torch.tensor([box(0, 0, yaw=0.3, velocity=(3.0, -1.0))])
    truth = pillar_targets(centres, boxes, torch.tensor([2]), CELL, 10)
    assert truth.label.tolist() == [10, 2]
    assert truth.box.tolist() == [-1, 0]
    assert truth.offset.tolist() == [[0.0, 0.0], [-1.0, -0.5]]
    assert truth.heading[1].tolist() == pytest.approx([math.sin(0.3), math.cos(0.3)])
    assert truth.log_size[1].exp().tolist() == pytest.approx([4.0, 2.0, 1.5])
    assert truth.velocity.tolist() == [[0.0, 0.0], [3.0, -1.0]]
    assert truth.velocity_known.tolist() == [False, True]
    assert truth.length.tolist() == [0.0, 4.0]


def test_unknown_velocity_does_not_count():
    boxes = torch.tensor([box(0, 0, velocity=(math.nan, math.nan)), box(20, 0)])
    centres = torch.tensor([[0.0, 0.0], [20.0, 0.0]])
    truth = pillar_targets(centres, boxes, torch.tensor([0, 1]), CELL, 10)
    assert truth.velocity_known.tolist() == [False, True]
    assert all(values.isfinite().all() for values in truth)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="boxes"):
        pillar_targets(torch.zeros(1, 2), torch.zeros(1, 7), torch.tensor([0]), CELL, 3)
