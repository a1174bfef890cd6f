"""KITTI's layout: boxes where the camera's labels say, and only what the camera sees."""

import numpy as np
import pytest
from mmengine.fileio import load

from padre3d.data.kitti import in_picture, kitti_frames, read_calibration
from padre3d.data.prepare_frames import prepare_frames
from padre3d.io.frames import InputFrame
from padre3d.io.options import options_of

# x right, y down, z forward of the camera; the LiDAR's x is forward, y left, z up; 0.3 m apart.
CALIBRATION = """P2: 700 0 600 0 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.3
"""


def write_kitti(root, frames=3):
    for folder in ("velodyne", "label_2", "calib"):
        (root / "training" / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(frames):
        car = (rng.random((60, 3)) - 0.5) * (3.9, 1.6, 1.5) + (15.3, 4.0, -0.9)
        behind = car * (-1, 1, 1)
        points = np.column_stack([np.concatenate([car, behind]), np.full(120, 0.5)])
        points.astype(np.float32).tofile(root / f"training/velodyne/{i:06d}.bin")
        (root / f"training/calib/{i:06d}.txt").write_text(CALIBRATION)
        # h w l, then x y z of the bottom in the camera: 4 m left, 15 m ahead.
        bottom = 0.9 + 0.75 - 0.08
        (root / f"training/label_2/{i:06d}.txt").write_text(
            f"Car 0 0 0 0 0 0 0 1.5 1.6 3.9 -4.0 {bottom} 15.0 -1.5707963\n"
            "DontCare -1 -1 -10 0 0 0 0 -1 -1 -1 -1000 -1000 -1000 -10\n"
        )
    (root / "ImageSets").mkdir()
    (root / "ImageSets/train.txt").write_text("000000\n000001\n")
    (root / "ImageSets/val.txt").write_text("000002\n")
    return root


def test_boxes_points_and_split(tmp_path):
    root = write_kitti(tmp_path)
    frames = kitti_frames(root)
    np.testing.assert_allclose(
        frames[0].labels[0].box[:7], [15.3, 4.0, -0.9, 3.9, 1.6, 1.5, 0.0], atol=1e-6
    )
    axes = InputFrame("kitti", sensor_height_m=1.73)
    options = {".bin": options_of("kitti")}
    made = prepare_frames(frames, root, out=root, axes=axes, options=options)
    assert made.classes == ("Car",)
    data = load(root / "nuscenes_infos_train.pkl")["data_list"]
    assert len(data) == 2
    assert len(load(root / "nuscenes_infos_val.pkl")["data_list"]) == 1
    (box,) = data[0]["instances"]
    # x forward, y left -> x right, y forward; the sensor is 0.11 m lower than the model's.
    expected = [-4.0, 15.3, -1.01, 3.9, 1.6, 1.5, np.pi / 2]
    np.testing.assert_allclose(box["bbox_3d"], expected, atol=1e-6)
    assert box["num_lidar_pts"] == 60
    points = np.fromfile(root / "samples/LIDAR_TOP/000000.bin", np.float32).reshape(-1, 5)
    # What lies behind the camera has no label, so it is not there; reflectance is 0 to 255.
    assert len(points) == 60
    assert set(points[:, 3]) == {127.5}


def test_the_picture_ends_where_the_camera_does(tmp_path):
    root = write_kitti(tmp_path, 1)
    calibration = read_calibration(root / "training", "000000")
    points = np.array([[10.3, 0, 0], [10.3, 8.4, 0], [10.3, 8.6, 0], [-5, 0, 0], [0.3, 0, 0]])
    seen = in_picture(points, calibration)
    # u = 600 - 700 y / 10: 8.4 m left is at 12, 8.6 m left at -2.
    assert seen.tolist() == [True, True, False, False, False]


def test_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected point files in .*velodyne, found none"):
        kitti_frames(tmp_path)
    root = write_kitti(tmp_path, 1)
    label = root / "training/label_2/000000.txt"
    label.write_text("Car 0 0 0\n")
    with pytest.raises(ValueError, match="000000.txt, row 1: expected 15 columns, got 'Car 0 0 0'"):
        kitti_frames(root)
    (root / "training/calib/000000.txt").write_text("P2: 1 2\n")
    with pytest.raises(ValueError, match="expected P2, R0_rect and Tr_velo_to_cam"):
        kitti_frames(root)
