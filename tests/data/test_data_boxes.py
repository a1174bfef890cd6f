import numpy as np
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box as devkit_points_in_box
from pyquaternion import Quaternion
from shapely.geometry import Polygon

from padre3d.data.boxes import bev_corners, bev_overlaps_any, points_in_boxes


def test_points_in_box_by_hand():
    # 4 m long and 2 m wide, turned by 90 degrees: 4 m along y; the bottom is at z = 1.
    box = np.array([10.0, 20.0, 1.0, 4.0, 2.0, 1.5, np.pi / 2])
    points = np.array(
        [
            [10.0, 21.9, 1.1],  # in
            [11.9, 20.0, 1.1],  # beyond the side
            [10.9, 20.0, 2.4],  # in
            [10.0, 20.0, 0.9],  # below
            [10.0, 20.0, 2.6],  # above
            [10.9, 22.1, 1.5],  # beyond the front
        ]
    )
    np.testing.assert_array_equal(points_in_boxes(points, box[None])[0], [0, 2])


def test_points_in_box_agrees_with_the_devkit():
    rng = np.random.default_rng(0)
    points = rng.uniform(-6, 6, (4000, 3))
    for _ in range(20):
        centre, size = rng.uniform(-3, 3, 3), rng.uniform(0.5, 5, 3)
        yaw = rng.uniform(-4, 4)
        length, width, height = size
        expected = devkit_points_in_box(
            Box(centre, [width, length, height], Quaternion(axis=[0, 0, 1], radians=yaw)), points.T
        )
        box = np.array([*centre[:2], centre[2] - height / 2, *size, yaw])
        np.testing.assert_array_equal(
            points_in_boxes(points, box[None])[0], np.flatnonzero(expected)
        )


def test_corners_by_hand():
    corners = bev_corners(np.array([[1.0, 2.0, 0.0, 4.0, 2.0, 1.0, np.pi / 2]]))[0]
    expected = [[0, 4], [0, 0], [2, 0], [2, 4]]
    np.testing.assert_allclose(corners, expected, atol=1e-12)


def test_overlap_agrees_with_polygons():
    rng = np.random.default_rng(1)
    boxes = np.column_stack(
        [
            rng.uniform(-4, 4, (120, 2)),
            np.zeros(120),
            rng.uniform(0.3, 6, (120, 2)),
            np.ones(120),
            rng.uniform(-4, 4, 120),
        ]
    )
    shapes = [Polygon(c) for c in bev_corners(boxes)]
    found = set()
    for i in range(0, 120, 2):
        expected = shapes[i].intersection(shapes[i + 1]).area > 1e-9
        assert bev_overlaps_any(boxes[i], boxes[i + 1 : i + 2]) == expected
        found.add(expected)
        others = [j for j in range(120) if j != i]
        any_expected = any(shapes[i].intersection(shapes[j]).area > 1e-9 for j in others)
        assert bev_overlaps_any(boxes[i], boxes[others]) == any_expected
    assert found == {True, False}
    assert not bev_overlaps_any(boxes[0], np.zeros((0, 9)))
