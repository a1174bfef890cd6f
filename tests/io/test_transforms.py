"""The tree of frames over time."""

import numpy as np
import pytest

from padre3d.io.transforms import TransformTree

AHEAD = [1.0, 0.0, 0.0, 0.0]


def test_samples_in_any_order_and_the_last_of_one_time():
    tree = TransformTree()
    for stamp, x in ((2.0, 8.0), (1.0, 3.0), (1.5, 9.0), (1.5, 5.0)):
        tree.add("odom", "base", [x, 0, 0], [2 * v for v in AHEAD], stamp)
    assert tree.pose("base", "odom", 1.5)[0, 3] == 5
    assert tree.pose("base", "odom", 1.25)[0, 3] == pytest.approx(4)
    tree.add("odom", "base", [7.0, 0, 0], AHEAD, 1.75)
    assert tree.pose("base", "odom", 1.75)[0, 3] == 7
    np.testing.assert_allclose(tree.pose("base", "odom", 1.75)[:3, :3], np.eye(3))


def test_a_static_frame_above_a_moving_one():
    tree = TransformTree()
    tree.add("map", "odom", [100.0, 0, 0], AHEAD, None)
    tree.add("odom", "base", [1.0, 2, 0], AHEAD, 1.0)
    tree.add("/base", "/lidar", [0.0, 0, 2], AHEAD, None)
    assert tree.fixed_frame("lidar") == "odom"
    assert tree.pose("lidar", "map", 1.0)[:3, 3].tolist() == [101, 2, 2]
    with pytest.raises(ValueError, match="transform odom <- base: expected a time within 0.1 s"):
        tree.pose("lidar", "map", 1.2)
