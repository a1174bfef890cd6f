"""Velocities that follow from tracks."""

from pathlib import Path

import numpy as np
import pytest

from padre3d.data.frames import Frame, Label, with_velocities


def frames(poses, speed=(0.0, 0.0), given=(np.nan, np.nan)):
    """A car in the frame of a sensor that drives at 10 m/s along x, every half second."""
    made = []
    for i, posed in enumerate(poses):
        at_s = 0.5 * i
        pose = np.eye(4)
        pose[0, 3] = 10 * at_s
        place = np.array([30.0, 5, 0]) + [*(np.array(speed) * at_s), 0] - pose[:3, 3]
        label = Label("car", np.array([*place, 4, 2, 1.5, 0, *given]), "car_1")
        known = pose if posed else None
        made.append(Frame(f"{i}", Path(f"{i}.bin"), "drive", (label,), at_s, known))
    return made


def velocities(*given, **named):
    return [frame.labels[0].box[7:9] for frame in with_velocities(frames(*given, **named))]


def test_with_poses_it_is_that_over_the_ground():
    np.testing.assert_allclose(velocities([True] * 4), np.zeros((4, 2)), atol=1e-9)
    np.testing.assert_allclose(velocities([True] * 4, (3, 1)), [[3, 1]] * 4)


def test_without_poses_nobody_knows_it():
    """The way in the sensor's frame would be -10 m/s for a car that is parked."""
    assert np.isnan(velocities([False] * 4)).all()
    np.testing.assert_array_equal(velocities([False] * 2, given=(1, 2)), [[1, 2]] * 2)


def test_frames_without_a_pose_are_passed_over():
    found = np.array(velocities([True, False, True, True]))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2, 3]], 0, atol=1e-9)
    assert np.isnan(velocities([True, False, False])).all()


def test_a_frame_alone_has_none():
    assert np.isnan(velocities([True])).all()


@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_it_is_in_the_axes_of_the_frame(turn):
    made = frames([True] * 2, (2, 0))
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    turned = [
        Frame(
            f.name,
            f.path,
            f.recording,
            (
                Label(
                    "car",
                    np.array([*(rotation[:3, :3].T @ f.labels[0].box[:3]), *f.labels[0].box[3:]]),
                    "car_1",
                ),
            ),
            f.stamp_s,
            f.pose @ rotation,
        )
        for f in made
    ]
    for frame in with_velocities(turned):
        expected = [2 * np.cos(turn), -2 * np.sin(turn)]
        np.testing.assert_allclose(frame.labels[0].box[7:9], expected, atol=1e-9)
