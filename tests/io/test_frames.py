"""Clouds of other frames find the model's, and boxes find the way back."""

import numpy as np
import pytest

from padre3d.io.frames import InputFrame
from padre3d.structures.boxes import Detections

# One point ahead, one to the left, one on the ground below.
AHEAD_LEFT_BELOW = np.array([[10, 0, 0, 5, 0], [0, 4, 1, 6, 0.1], [0, 0, -1.73, 7, 0]], np.float32)
MODEL = np.array([[0, 10, -0.11, 5, 0], [-4, 0, 0.89, 6, 0.1], [0, 0, -1.84, 7, 0]])


@pytest.mark.parametrize("frame", [InputFrame("kitti", 0, 1.73), InputFrame("nuscenes", 90, 1.73)])
def test_forward_x_becomes_forward_y(frame):
    np.testing.assert_allclose(frame.to_model(AHEAD_LEFT_BELOW), MODEL, atol=1e-6)


def test_the_models_frame_changes_nothing():
    assert InputFrame().to_model(AHEAD_LEFT_BELOW) is AHEAD_LEFT_BELOW
    assert InputFrame("nuscenes", 0, 0).to_model(AHEAD_LEFT_BELOW)[2, 2] == pytest.approx(-3.57)


def test_boxes_come_back():
    """A car ahead that drives to the left in the model's frame, seen from KITTI's."""
    boxes = [[-4, 10, 0.5, 4, 2, 1.5, np.pi, -3, 1]]
    detections = Detections(np.array(boxes), np.array([0.5]), np.array([2]))
    back = InputFrame("kitti", 0, 1.73).to_input(detections)
    np.testing.assert_allclose(back.boxes, [[10, 4, 0.61, 4, 2, 1.5, np.pi / 2, 1, 3]], atol=1e-12)
    assert back.scores is detections.scores
    far = InputFrame("kitti", 0, 1.73, (451_230_250.0, 5_411_007_500.0, 112_000.0), "mm")
    np.testing.assert_allclose(
        far.to_input(detections).boxes[0, :3], [451_240.25, 5_411_011.5, 112.61], atol=1e-6
    )


@pytest.mark.parametrize("yaw", [-170, -30, 0, 45, 200])
@pytest.mark.parametrize("axes", ["nuscenes", "kitti"])
def test_there_and_back(axes, yaw):
    frame = InputFrame(axes, yaw, 2.5)
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.normal(0, 9, (20, 3)), rng.uniform(1, 4, (20, 3))], 1)
    boxes = np.column_stack([boxes, rng.uniform(-np.pi, np.pi, 20), rng.normal(0, 3, (20, 2))])
    in_model = frame.to_model(boxes)
    in_model[:, 6] += frame.turn_rad
    in_model[:, 7:] = frame.to_model(np.pad(boxes[:, 7:], ((0, 0), (0, 1))))[:, :2]
    back = frame.to_input(Detections(in_model, np.ones(20), np.zeros(20)))
    np.testing.assert_allclose(back.boxes, boxes, atol=1e-9)


def test_labels_and_marker_say_where_forward_is():
    assert InputFrame().axis_labels == ("x, right (m)", "y, forward (m)")
    assert InputFrame("kitti").axis_labels == ("x, forward (m)", "y, left (m)")
    assert InputFrame("kitti", 10).axis_labels == ("x (m)", "y (m)")
    assert InputFrame("kitti").forward_rad == pytest.approx(0)
    assert InputFrame("nuscenes", 30).forward_rad == pytest.approx(np.deg2rad(60))


def test_impossible_frames():
    with pytest.raises(ValueError, match="--axes: expected one of nuscenes, kitti, got 'ned'"):
        InputFrame("ned")
    with pytest.raises(ValueError, match="--yaw: expected a finite number, got nan"):
        InputFrame(yaw_deg=float("nan"))
