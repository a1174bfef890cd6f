"""A folder in the layout of KITTI as frames.

The folders are ``training/velodyne``, ``label_2``, ``calib``, and ``ImageSets/train.txt`` and
``val.txt`` for the split. KITTI annotates what its front camera sees: points outside of that
picture go, because an object there has no box and would count as background.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from padre3d.data.frames import Frame, Label
from padre3d.data.text_files import read_text

PICTURE = (1242, 375)
UNSCORED = "DontCare"


def kitti_frames(root: Path) -> list[Frame]:
    """Frames of ``root/training``; without a label file a frame is not annotated.

    Raises:
        FileNotFoundError: if the point files or a calibration are missing.
        ValueError: on a malformed label or calibration.
    """
    folder = root / "training"
    files = sorted((folder / "velodyne").glob("*.bin"))
    if not files:
        raise FileNotFoundError(f"expected point files in {folder / 'velodyne'}, found none")
    frames = []
    for path in files:
        text = folder / "label_2" / f"{path.stem}.txt"
        calibration = read_calibration(folder, path.stem)
        labels = kitti_labels(text, calibration) if text.is_file() else None
        visible = partial(in_picture, calibration=calibration)
        frames.append(Frame(path.stem, path, "training", labels, visible=visible))
    return frames


def read_calibration(folder: Path, frame: str) -> dict[str, np.ndarray]:
    """``P2`` (3, 4), ``camera_from_lidar`` (4, 4) into rectified camera axes, its inverse."""
    path = folder / "calib" / f"{frame}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"calibration not found: {path}")
    rows = dict(
        line.split(":", 1) for line in read_text(path, "a calibration").splitlines() if ":" in line
    )
    try:
        values = {key: np.array(text.split(), float) for key, text in rows.items()}
        rectify, camera = np.eye(4), np.eye(4)
        rectify[:3, :3] = values["R0_rect"].reshape(3, 3)
        camera[:3] = values["Tr_velo_to_cam"].reshape(3, 4)
        matrix = rectify @ camera
        return {
            "P2": values["P2"].reshape(3, 4),
            "camera_from_lidar": matrix,
            "lidar_from_camera": np.linalg.inv(matrix),
        }
    except (KeyError, ValueError, np.linalg.LinAlgError) as error:
        raise ValueError(f"{path}: expected P2, R0_rect and Tr_velo_to_cam: {error}") from error


def kitti_labels(path: Path, calibration: dict[str, np.ndarray]) -> tuple[Label, ...]:
    """Labels of a KITTI text file in the LiDAR's frame; DontCare is left out."""
    lidar_from_camera = calibration["lidar_from_camera"]
    labels = []
    for number, line in enumerate(read_text(path, "labels").splitlines(), 1):
        words = line.split()
        if not words or words[0] == UNSCORED:
            continue
        try:
            height, width, length, x, y, z, turn = map(float, words[8:15])
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: expected 15 columns, got {line!r}") from error
        centre = (lidar_from_camera @ [x, y, z, 1])[:3]
        # The camera's boxes stand on their bottom, and turn clockwise from its x, our -y.
        box = [*centre[:2], centre[2] + height / 2, length, width, height, -turn - np.pi / 2]
        labels.append(Label(words[0], np.array([*box, np.nan, np.nan])))
    return tuple(labels)


def in_picture(points: np.ndarray, calibration: dict[str, np.ndarray]) -> np.ndarray:
    """(P,) whether the front camera sees a point (P, >= 3) of the LiDAR's frame."""
    ones = np.ones(len(points))
    camera = calibration["camera_from_lidar"] @ np.column_stack([points[:, :3], ones]).T
    u, v, depth = calibration["P2"] @ camera
    ahead = depth > 0
    scale = np.where(ahead, depth, 1)
    return (
        ahead
        & (u / scale >= 0)
        & (u / scale < PICTURE[0])
        & (v / scale >= 0)
        & (v / scale < PICTURE[1])
    )
