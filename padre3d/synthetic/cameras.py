"""Camera records of a scene: calibrations and blank pictures of its key frames.

Nothing is rendered. Converters of other projects (mmdet3d, OpenPCDet) want six calibrated cameras
in every sample, even where only the LiDAR is used.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from padre3d.synthetic.tables import Row, link, token

# Heading of the optical axis in the ego frame, degrees counter-clockwise from forward.
CAMERAS = {
    "CAM_FRONT": 0.0,
    "CAM_FRONT_LEFT": 55.0,
    "CAM_BACK_LEFT": 110.0,
    "CAM_BACK": 180.0,
    "CAM_BACK_RIGHT": -110.0,
    "CAM_FRONT_RIGHT": -55.0,
}
SIZE = (1600, 900)
FOCAL_PX = 1260.0
HEIGHT_M = 1.5
REACH_M = 0.7


def camera_sensors(seed: int) -> list[Row]:
    """Rows of the sensor table."""
    return [
        {"token": token(seed, "sensor", name), "channel": name, "modality": "camera"}
        for name in CAMERAS
    ]


def camera_rows(
    seed: int,
    scene_token: Callable[..., str],
    log_name: str,
    samples: Sequence[Row],
    ego_tokens: Sequence[str],
    root: Path,
) -> dict[str, list[Row]]:
    """Calibrations and sample_data of a scene, and their picture files.

    Args:
        seed: of the data set.
        scene_token: names -> token of a record of the scene.
        log_name: first word of the file names.
        samples: sample rows, in order of time.
        ego_tokens: ego pose of each sample.
        root: data root.
    """
    picture = _blank()
    rows: dict[str, list[Row]] = {"calibrated_sensor": [], "sample_data": []}
    for name, degrees in CAMERAS.items():
        rows["calibrated_sensor"].append(_calibration(seed, scene_token, name, np.deg2rad(degrees)))
        chain = []
        for sample, ego in zip(samples, ego_tokens, strict=True):
            file = f"samples/{name}/{log_name}__{name}__{sample['timestamp']}.jpg"
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
            chain.append(
                {
                    "token": scene_token("data", name, sample["token"]),
                    "sample_token": sample["token"],
                    "ego_pose_token": ego,
                    "calibrated_sensor_token": scene_token("calibration", name),
                    "timestamp": sample["timestamp"],
                    "fileformat": "jpg",
                    "is_key_frame": True,
                    "height": SIZE[1],
                    "width": SIZE[0],
                    "filename": file,
                    "prev": "",
                    "next": "",
                }
            )
        rows["sample_data"] += link(chain)
    return rows


def _calibration(seed: int, scene_token: Callable[..., str], name: str, yaw: float) -> Row:
    # z along the optical axis, x to its right, y down; columns are the axes in the ego frame.
    half = np.array([0.5, -0.5, 0.5, -0.5])
    turn = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    return {
        "token": scene_token("calibration", name),
        "sensor_token": token(seed, "sensor", name),
        "translation": [REACH_M * np.cos(yaw), REACH_M * np.sin(yaw), HEIGHT_M],
        "rotation": _product(turn, half),
        "camera_intrinsic": [
            [FOCAL_PX, 0.0, SIZE[0] / 2],
            [0.0, FOCAL_PX, SIZE[1] / 2],
            [0.0, 0.0, 1.0],
        ],
    }


def _product(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Quaternion (w, x, y, z) of two turns, ``b`` first."""
    w = a[0] * b[0] - a[1:] @ b[1:]
    xyz = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return [float(w), *map(float, xyz)]


def _blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", SIZE, 128).save(buffer, "JPEG", quality=10)
    return buffer.getvalue()
