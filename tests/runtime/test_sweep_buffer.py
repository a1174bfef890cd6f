"""The runtime's sweep buffer gives the cloud that the devkit and training make."""

import numpy as np
import pytest

from padre3d.runtime.sweep_buffer import SweepBuffer

QUARTER = [np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)]


def push(buffer, x, stamp, pose):
    buffer.push(np.array([[x, 0, 0, 7], [0.5, 0.5, 0, 9]], np.float32), stamp, pose)


def test_by_hand():
    """Two clouds ago the ego stood 2 m to the right of where it is now, and looked to the left."""
    buffer = SweepBuffer(3, pad=False)
    push(buffer, 10, 5.0, [100, 198, 0, *QUARTER])
    push(buffer, 11, 5.1, [100, 199, 0, 1, 0, 0, 0])
    push(buffer, 12, 5.25, [100, 200, 0, 1, 0, 0, 0])
    expected = [[12, 0, 0, 7, 0], [0.5, 0.5, 0, 9, 0], [11, -1, 0, 7, 0.15], [0, 8, 0, 7, 0.25]]
    np.testing.assert_allclose(buffer.cloud(), expected, atol=1e-6)
    assert buffer.cloud().dtype == np.float32
    push(buffer, 13, 5.3, [100, 200, 0, 1, 0, 0, 0])
    np.testing.assert_allclose(np.unique(buffer.cloud()[:, 4]), [0, 0.05, 0.2], atol=1e-6)


def test_calibration_turns_with_the_ego():
    """A sensor 1 m ahead of the axle swings round when the ego turns."""
    buffer = SweepBuffer(2, pad=False, lidar_to_ego=[1, 0, 0, 1, 0, 0, 0])
    push(buffer, 10, 0.0, [0, 0, 0, 1, 0, 0, 0])
    push(buffer, 10, 0.1, [0, 0, 0, *QUARTER])
    np.testing.assert_allclose(buffer.cloud()[-1], [-1, -11, 0, 7, 0.1], atol=1e-6)


def test_padding_stride_and_oldest():
    buffer = SweepBuffer(4, stride=2, max_lag_s=0.35)
    here = [0, 0, 0, 1, 0, 0, 0]
    push(buffer, 10, 0.0, here)
    assert len(buffer.cloud()) == 2 + 3
    for step in range(1, 9):
        push(buffer, 10, 0.1 * step, here)
    assert len(buffer) == 7
    # 0.2 s is one stride ago; 0.4 s is too old, so the sweep of 0.2 s is repeated.
    np.testing.assert_allclose(buffer.cloud()[:, 4], [0, 0, 0.2, 0.2, 0.2], atol=1e-6)
    buffer.clear()
    with pytest.raises(ValueError, match="expected a cloud pushed before, got none"):
        buffer.cloud()


def test_what_was_pushed_is_copied():
    buffer = SweepBuffer(1)
    points = np.ones((3, 5), np.float32)
    buffer.push(points, 0.0, np.eye(4))
    points[:] = 9
    assert buffer.cloud()[:, :4].max() == 1


@pytest.mark.parametrize(
    ("points", "stamp", "pose", "match"),
    [
        (np.zeros((2, 3)), 2.0, np.eye(4), r"points: expected shape \(P, >= 4\), got \(2, 3\)"),
        (np.zeros((2, 4)), 1.0, np.eye(4), "stamp_s: expected a time after 1.0, got 1.0"),
        (np.zeros((2, 4)), np.nan, np.eye(4), "finite number of seconds, got nan"),
        (np.zeros((2, 4)), 2.0, np.eye(3), r"expected \(4, 4\) or 7 finite numbers, got shape"),
        (np.zeros((2, 4)), 2.0, np.diag([2, 1, 1, 1]), "a rotation and a translation"),
        (np.zeros((2, 4)), 2.0, np.diag([-1, 1, 1, 1]), "a rotation and a translation"),
        (np.zeros((2, 4)), 2.0, [0] * 7, "expected finite numbers and a rotation"),
    ],
)
def test_bad_input_leaves_the_buffer_as_it_was(points, stamp, pose, match):
    buffer = SweepBuffer(2)
    buffer.push(np.ones((1, 4)), 1.0, np.eye(4))
    before = buffer.cloud()
    with pytest.raises(ValueError, match=match):
        buffer.push(points, stamp, pose)
    np.testing.assert_array_equal(buffer.cloud(), before)


@pytest.mark.parametrize(
    "given", [{"num_sweeps": 0}, {"stride": 0}, {"max_lag_s": 0.0}, {"lidar_to_ego": np.eye(3)}]
)
def test_bad_settings(given):
    with pytest.raises(ValueError, match="expected"):
        SweepBuffer(**given)
