"""Overlaps of rotated boxes: hand-computed cases, and shapely's polygons as oracle."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from padre3d.head.rotated_iou import (
    aligned_iou_3d,
    aligned_iou_bev,
    bev_intersection,
    pairwise_iou_3d,
    pairwise_iou_bev,
)


def random_rectangles(n, generator, spread=4.0, origin=0.0):
    centre = torch.rand(n, 2, generator=generator) * spread + origin
    size = torch.rand(n, 2, generator=generator) * 5 + 0.1
    yaw = torch.rand(n, 1, generator=generator) * 20 - 10
    return torch.cat((centre, size, yaw), 1)


def polygon(box):
    geometry = pytest.importorskip("shapely.geometry")
    affinity = pytest.importorskip("shapely.affinity")
    x, y, length, width, yaw = box.double().tolist()
    rectangle = geometry.box(-length / 2, -width / 2, length / 2, width / 2)
    return affinity.translate(
        affinity.rotate(rectangle, yaw, use_radians=True, origin=(0, 0)), x, y
    )


def test_random_pairs_equal_polygons(device):
    generator = torch.Generator().manual_seed(0)
    a = random_rectangles(60, generator, origin=50.0)
    b = random_rectangles(40, generator, origin=50.0)
    actual = pairwise_iou_bev(a.to(device), b.to(device)).cpu()
    shapes_a, shapes_b = [polygon(r) for r in a], [polygon(r) for r in b]
    for i, p in enumerate(shapes_a):
        for j, q in enumerate(shapes_b):
            area = p.intersection(q).area
            expected = area / (p.area + q.area - area)
            assert actual[i, j].item() == pytest.approx(expected, abs=1e-6)
    assert (actual > 0.1).sum() > 100


def test_almost_parallel_boxes_equal_polygons():
    """Edges that nearly coincide are where clipping goes wrong."""
    generator = torch.Generator().manual_seed(1)
    a = random_rectangles(200, generator, origin=-30.0)
    b = a + torch.randn(200, 5, generator=generator) * 10 ** -torch.randint(
        2, 9, (200, 1), generator=generator
    )
    expected = []
    for p, q in zip(map(polygon, a), map(polygon, b), strict=True):
        area = p.intersection(q).area
        expected.append(area / (p.area + q.area - area))
    actual = aligned_iou_bev(a, b)
    torch.testing.assert_close(actual, torch.tensor(expected).float(), atol=2e-6, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-100, 100),
    st.floats(-100, 100),
    st.floats(0.05, 20),
    st.floats(0.05, 20),
    st.floats(-7, 7),
)
def test_identical_boxes_have_iou_one(x, y, length, width, yaw):
    box = torch.tensor([[x, y, length, width, yaw]])
    assert aligned_iou_bev(box, box).item() == 1.0
    turned = torch.tensor([[x, y, width, length, yaw + math.pi / 2]])
    assert aligned_iou_bev(box, turned).item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("yaw", [0.0, 0.4, math.pi / 2, -2.0])
def test_touching_boxes_do_not_overlap(yaw):
    """Side by side, sharing a whole edge; corner to corner."""
    along = torch.tensor([math.cos(yaw), math.sin(yaw)], dtype=torch.float64)
    across = torch.tensor([-math.sin(yaw), math.cos(yaw)], dtype=torch.float64)
    rest = torch.tensor([4.0, 2.0, yaw], dtype=torch.float64)
    here = torch.cat((torch.zeros(2).double(), rest))
    for shift in (4 * along, -2 * across, 4 * along + 2 * across):
        there = torch.cat((shift, rest))
        assert bev_intersection(here, there).item() == pytest.approx(0.0, abs=1e-7)


def test_hand_computed_overlaps():
    square = torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0])
    # A square turned by 45 degrees cuts off four corners: the octagon 8 (sqrt(2) - 1).
    turned = torch.tensor([0.0, 0.0, 2.0, 2.0, math.pi / 4])
    assert bev_intersection(square, turned).item() == pytest.approx(
        8 * (math.sqrt(2) - 1), rel=1e-6
    )
    inside = torch.tensor([0.3, -0.2, 0.5, 1.0, 0.7])
    assert bev_intersection(square, inside).item() == pytest.approx(0.5, rel=1e-6)
    assert bev_intersection(inside, square).item() == pytest.approx(0.5, rel=1e-6)
    half = torch.tensor([1.0, 0.0, 2.0, 2.0, math.pi / 2])
    assert aligned_iou_bev(square, half).item() == pytest.approx(1 / 3, abs=1e-6)
    far = torch.tensor([40.0, 40.0, 2.0, 2.0, 1.0])
    assert bev_intersection(square, far).item() == 0


def test_degenerate_and_broken_boxes_give_zero():
    good = torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.3])
    for column, value in (
        (3, 0.0),
        (4, 0.0),
        (5, 0.0),
        (3, -1.0),
        (0, float("nan")),
        (6, float("nan")),
        (5, float("inf")),
        (3, float("inf")),
    ):
        bad = good.clone()
        bad[column] = value
        for pair in ((good, bad), (bad, good), (bad, bad)):
            assert aligned_iou_3d(*pair).item() == 0, (column, value)


def test_volume_iou_by_hand():
    a = torch.tensor([[1.0, 2.0, 0.0, 4.0, 2.0, 2.0, 0.5]])
    shifted = a + torch.tensor([0, 0, 0.5, 0, 0, 0, 0])
    flat = a + torch.tensor([0, 0, 0.0, 0, 0, -1.0, 0])
    above = a + torch.tensor([0, 0, 2.0, 0, 0, 0, 0])
    boxes = torch.cat((a, shifted, flat, above))
    actual = pairwise_iou_3d(a, boxes)[0]
    torch.testing.assert_close(actual, torch.tensor([1.0, 0.6, 0.5, 0.0]))


def test_volume_iou_is_bev_overlap_times_height_overlap():
    generator = torch.Generator().manual_seed(2)
    bev = random_rectangles(30, generator)
    z, h = torch.rand(30, 1, generator=generator), torch.rand(30, 1, generator=generator) + 0.5
    boxes = torch.cat((bev[:, :2], z, bev[:, 2:4], h, bev[:, 4:]), 1)
    area = bev_intersection(bev[:, None], bev[None])
    top = torch.minimum((z + h / 2), (z + h / 2).T)
    height = (top - torch.maximum(z - h / 2, (z - h / 2).T)).clamp_min(0)
    volume = boxes[:, 3:6].prod(1)
    inter = area * height
    expected = inter / (volume[:, None] + volume - inter)
    torch.testing.assert_close(
        pairwise_iou_3d(boxes, boxes), expected.float(), atol=1e-5, rtol=1e-5
    )
