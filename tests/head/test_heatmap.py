"""Gaussian targets against a loop over boxes and cells."""

import math

import pytest
import torch

from padre3d.head.training.heatmap import draw_heatmap, gaussian_radius
from padre3d.structures.grid import PillarGrid

# More cells along x than along y, and cells that are not square.
GRID = PillarGrid((-12.0, -6.0, -3, 12.0, 6.0, 1), (0.6, 0.8))


def drawn_by_loop(boxes, labels, num_classes, overlap, min_radius):
    heatmap = torch.zeros(num_classes, GRID.ny, GRID.nx)
    for (x, y, _, length, width), label in zip(boxes[:, :5].tolist(), labels.tolist(), strict=True):
        size = torch.tensor(length / 0.6), torch.tensor(width / 0.8)
        radius = max(min_radius, int(gaussian_radius(*size, overlap)))
        cx, cy = int((x + 12) / 0.6), int((y + 6) / 0.8)
        sigma = (2 * radius + 1) / 6
        for j in range(max(0, cy - radius), min(GRID.ny, cy + radius + 1)):
            for i in range(max(0, cx - radius), min(GRID.nx, cx + radius + 1)):
                value = math.exp(-((i - cx) ** 2 + (j - cy) ** 2) / (2 * sigma**2))
                heatmap[label, j, i] = max(heatmap[label, j, i].item(), value)
    return heatmap


def test_equals_the_loop():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(25, 9, generator=generator)
    boxes[:, 0] = boxes[:, 0] * 24 - 12
    boxes[:, 1] = boxes[:, 1] * 12 - 6
    boxes[:, 3:5] = boxes[:, 3:5] * 8 + 0.3
    labels = torch.randint(0, 3, (25,), generator=generator)
    actual = draw_heatmap(boxes, labels, GRID, 3, 0.1, 2)
    torch.testing.assert_close(
        actual, drawn_by_loop(boxes, labels, 3, 0.1, 2), atol=1e-6, rtol=1e-6
    )
    cells = {
        (int(c), int((y + 6) / 0.8), int((x + 12) / 0.6))
        for c, x, y in zip(labels, boxes[:, 0], boxes[:, 1], strict=True)
    }
    assert {tuple(c) for c in (actual == 1).nonzero().tolist()} == cells


def test_centre_outside_draws_nothing():
    boxes = torch.tensor([[-12.1, 0, 0, 4, 2, 1, 0, 0, 0], [0, 6.0, 0, 4, 2, 1, 0, 0, 0]])
    actual = draw_heatmap(boxes, torch.tensor([0, 1]), GRID, 2, 0.1, 2)
    assert actual.abs().max() == 0
    assert draw_heatmap(boxes[:0], torch.zeros(0).long(), GRID, 2, 0.1, 2).shape == (2, 15, 40)


def test_radius_of_the_reference_form():
    """A 10 x 4 box at overlap 0.1: the smallest root comes from the third equation."""
    # 0.4 r^2 - 2.8 r ... : (b + sqrt(b^2 - 4ac)) / 2 with a = 0.4, b = -2.8, c = -36
    expected = (-2.8 + math.sqrt(2.8**2 + 4 * 0.4 * 36)) / 2
    radius = gaussian_radius(torch.tensor(10.0), torch.tensor(4.0), 0.1)
    assert radius.item() == pytest.approx(expected, rel=1e-6)
