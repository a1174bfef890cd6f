"""Weights of the classes in the probe's loss."""

import numpy as np
import pytest
import torch

from padre3d.probe.balance import class_weights, pillar_counts
from padre3d.probe.frames import Frame
from padre3d.structures.grid import PillarGrid


@pytest.mark.parametrize(
    ("balance", "expected"), [(0.0, [1, 1, 1]), (1.0, [5 / 3, 5 / 12, 5 / 3]), (0.5, None)]
)
def test_weights_of_classes_with_4_16_and_4_pillars(balance, expected):
    counts = torch.tensor([4, 16, 4])
    # 24 pillars: weights in proportion 1/2, 1/4, 1/2 sum to 8 over them.
    expected = expected or [1.5, 0.75, 1.5]
    scale = 24 / (torch.tensor(expected, dtype=torch.float64) * counts).sum()
    weights = class_weights(counts, balance, 0.3)
    torch.testing.assert_close(weights[:3].double(), torch.tensor(expected).double() * scale)
    assert weights[3].item() == pytest.approx(0.3)
    assert (weights[:3] * counts).sum().item() == pytest.approx(24)


def test_a_class_without_pillars_has_a_finite_weight():
    weights = class_weights(torch.tensor([0, 100]), 0.5, 0.3)
    torch.testing.assert_close(weights[0], 10 * weights[1])


def test_pillars_of_each_class_are_counted():
    grid = PillarGrid.of(dict(range_m=(-8, -8, -5, 8, 8, 3), cell_m=(1.0, 1.0)))
    xy = np.array([[0.5, 0.5], [0.6, 0.6], [1.5, 0.5], [-5.5, -5.5], [6.5, 6.5]])
    points = np.concatenate([xy, np.zeros((5, 3))], 1).astype(np.float32)
    boxes = np.zeros((2, 9), np.float32)
    boxes[:, :2] = [[1, 0.5], [-5.5, -5.5]]
    boxes[:, 3:6] = [[2, 1, 1], [1, 1, 1]]
    frame = Frame(points, boxes, np.array([2, 0]))
    assert pillar_counts([frame, frame], grid, 3).tolist() == [2, 0, 4]
