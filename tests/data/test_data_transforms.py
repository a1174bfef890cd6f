"""mmdet3d's own scene transforms, as the configs use them: does the velocity go along?

The proof needs no formula: a box and the point where it will be one second later are transformed
together; the transformed velocity must lead from the one to the other.
"""

import numpy as np
import pytest
import torch
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmdet3d.structures.points import LiDARPoints

GRAVITY = (0.5, 0.5, 0.5)


def scene():
    boxes = torch.tensor(
        [[10.0, -4, 0.5, 4, 2, 1.5, 0.4, 3.0, -2.0], [-7, 20, -1, 8, 3, 3, -2.5, -1.0, 6.0]]
    )
    heading = torch.stack([boxes[:, 6].cos(), boxes[:, 6].sin(), torch.zeros(2)], 1)
    velocity = torch.cat([boxes[:, 7:9], torch.zeros(2, 1)], 1)
    # Centres, centres one second later, middles of the front faces.
    points = torch.cat(
        [boxes[:, :3], boxes[:, :3] + velocity, boxes[:, :3] + heading * boxes[:, 3:4] / 2]
    )
    extra = torch.tensor([[50.0, 0.1]]).repeat(6, 1)
    return dict(
        points=LiDARPoints(torch.cat([points, extra], 1), points_dim=5),
        gt_bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9, origin=GRAVITY),
        gt_labels_3d=np.array([0, 1]),
    )


def check(results):
    boxes = results["gt_bboxes_3d"]
    points = results["points"].tensor
    centre, later, front = points[:2, :3], points[2:4, :3], points[4:, :3]
    torch.testing.assert_close(boxes.gravity_center, centre, atol=1e-4, rtol=0)
    torch.testing.assert_close(boxes.tensor[:, 7:9], (later - centre)[:, :2], atol=1e-4, rtol=0)
    ahead = (front - centre)[:, :2]
    torch.testing.assert_close(ahead.norm(dim=1), boxes.tensor[:, 3] / 2, atol=1e-4, rtol=0)
    heading = torch.stack([boxes.yaw.cos(), boxes.yaw.sin()], 1)
    torch.testing.assert_close(ahead / ahead.norm(dim=1, keepdim=True), heading, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(points[:, 3:], np.tile(np.float32([50, 0.1]), (6, 1)))


@pytest.mark.parametrize(("horizontal", "vertical"), [(1, 0), (0, 1), (1, 1)])
def test_flip(horizontal, vertical):
    flip = TRANSFORMS.build(
        dict(
            type="RandomFlip3D",
            sync_2d=False,
            flip_ratio_bev_horizontal=float(horizontal),
            flip_ratio_bev_vertical=float(vertical),
        )
    )
    results = flip(scene())
    check(results)
    # "Horizontal" mirrors y, "vertical" mirrors x.
    sign = [-1 if vertical else 1, -1 if horizontal else 1]
    np.testing.assert_allclose(results["gt_bboxes_3d"].tensor[0, :2], np.multiply([10, -4], sign))
    np.testing.assert_allclose(results["gt_bboxes_3d"].tensor[0, 7:], np.multiply([3, -2], sign))


def global_transform(rotation=0.0, scale=1.0, sigma=0.0):
    return TRANSFORMS.build(
        dict(
            type="GlobalRotScaleTrans",
            rot_range=[rotation, rotation],
            scale_ratio_range=[scale, scale],
            translation_std=[sigma] * 3,
        )
    )


def test_rotation_is_counter_clockwise():
    results = global_transform(rotation=np.pi / 2)(scene())
    check(results)
    expected = [4, 10, 0.4 + np.pi / 2, 2.0, 3.0]
    np.testing.assert_allclose(
        results["gt_bboxes_3d"].tensor[0, [0, 1, 6, 7, 8]], expected, atol=1e-5
    )


def test_scale_scales_the_velocity():
    results = global_transform(scale=1.1)(scene())
    check(results)
    np.testing.assert_allclose(results["gt_bboxes_3d"].tensor[0, 7:], [3.3, -2.2], rtol=1e-6)


def test_translation_leaves_the_velocity():
    np.random.seed(0)
    shifts = []
    for _ in range(400):
        results = global_transform(sigma=0.5)(scene())
        check(results)
        shifts.append(results["gt_bboxes_3d"].gravity_center[0].numpy() - [10, -4, 0.5])
    # The standard error of a deviation from 400 draws is 0.018.
    np.testing.assert_allclose(np.std(shifts, axis=0), 0.5, atol=0.06)
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0.0, atol=0.09)


def test_all_together():
    np.random.seed(3)
    flip = TRANSFORMS.build(
        dict(
            type="RandomFlip3D",
            sync_2d=False,
            flip_ratio_bev_horizontal=0.5,
            flip_ratio_bev_vertical=0.5,
        )
    )
    for _ in range(10):
        check(global_transform(np.random.uniform(-0.78, 0.78), 0.93, 0.5)(flip(scene())))


def test_range_filters_cut_x_y_and_z():
    limits = [-54, -54, -5, 54, 54, 3]
    inside = torch.tensor([[53.9, -53.9, 2.9], [0, 0, -4.9]])
    outside = torch.tensor([[54.1, 0, 0], [0, -54.1, 0], [0, 0, 3.1], [0, 0, -5.1]])
    cloud = LiDARPoints(torch.cat([outside[:2], inside, outside[2:]]), points_dim=3)
    cut = TRANSFORMS.build(dict(type="PointsRangeFilter", point_cloud_range=limits))
    torch.testing.assert_close(cut(dict(points=cloud))["points"].tensor, inside)
