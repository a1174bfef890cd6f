"""nuScenes tables -> frame infos in the format of mmdet3d 1.4 (version 1.1 of that format).

All transforms are (4, 4) nested lists that act on column vectors: ``lidar2ego`` takes LiDAR
coordinates to the ego frame. ``bbox_3d`` is ``(x, y, z, length, width, height, yaw)`` in the LiDAR
frame with the GRAVITY centre; mmdet3d's NuScenesDataset expects that (origin ``(.5, .5, .5)``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name
from pyquaternion import Quaternion

from padre3d.data.nuscenes_tables import LIDAR_CHANNEL, past_sweeps
from padre3d.data.sweeps import rigid_inverse

# Labels in the file follow mmdet3d, so that its own configs can use the infos too; the data set
# maps them to the order of the config's classes by name.
INFO_CLASSES = (
    "car",
    "truck",
    "trailer",
    "bus",
    "construction_vehicle",
    "bicycle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "barrier",
)
POINT_COLUMNS = 5


def transform_of(record: dict) -> np.ndarray:
    """(4, 4) transform of a calibrated_sensor or ego_pose record to its parent frame."""
    matrix = Quaternion(record["rotation"]).transformation_matrix
    matrix[:3, 3] = record["translation"]
    return matrix


def _poses(nusc: NuScenes, data: dict) -> tuple[np.ndarray, np.ndarray]:
    """(sensor to ego, ego to global) of a sample_data record."""
    return (
        transform_of(nusc.get("calibrated_sensor", data["calibrated_sensor_token"])),
        transform_of(nusc.get("ego_pose", data["ego_pose_token"])),
    )


def frame_info(
    nusc: NuScenes,
    sample: dict,
    index: int,
    *,
    max_sweeps: int = 10,
    with_annotations: bool = True,
    categories: dict[str, str] | None = None,
    classes: tuple[str, ...] = INFO_CLASSES,
) -> dict:
    """Info of one key frame.

    Args:
        nusc: the tables.
        sample: its sample record.
        index: its place in the info file.
        max_sweeps: past sweeps listed, nearest in time first.
        with_annotations: False for the test split.
        categories: annotation category -> class; default: the official detection mapping.
        classes: class names in the order of the labels.
    """
    key = nusc.get("sample_data", sample["data"][LIDAR_CHANNEL])
    lidar2ego, ego2global = _poses(nusc, key)
    lidar2global = ego2global @ lidar2ego
    info = {
        "sample_idx": index,
        "token": sample["token"],
        "timestamp": key["timestamp"] / 1e6,
        "ego2global": ego2global.tolist(),
        "lidar_points": {
            "num_pts_feats": POINT_COLUMNS,
            "lidar_path": Path(key["filename"]).name,
            "lidar2ego": lidar2ego.tolist(),
        },
        "images": {
            channel: _image_info(nusc, nusc.get("sample_data", token), lidar2global)
            for channel, token in sample["data"].items()
            if channel.startswith("CAM_")
        },
    }
    sweeps = past_sweeps(nusc, sample, max_sweeps)
    if sweeps:
        # Left out where there are none: mmdet3d's own step pads only then.
        info["lidar_sweeps"] = [_sweep_info(nusc, data, lidar2global) for data in sweeps]
    info["instances"] = (
        _instances(nusc, sample, lidar2global, categories, classes) if with_annotations else []
    )
    return info


def _sweep_info(nusc: NuScenes, data: dict, lidar2global: np.ndarray) -> dict:
    sensor2ego, ego2global = _poses(nusc, data)
    sensor2global = ego2global @ sensor2ego
    return {
        "timestamp": data["timestamp"] / 1e6,
        "sample_data_token": data["token"],
        "ego2global": ego2global.tolist(),
        "lidar_points": {
            "lidar_path": data["filename"],
            "lidar2ego": sensor2ego.tolist(),
            "lidar2sensor": (rigid_inverse(sensor2global) @ lidar2global).tolist(),
        },
    }


def _image_info(nusc: NuScenes, data: dict, lidar2global: np.ndarray) -> dict:
    camera2ego, ego2global = _poses(nusc, data)
    camera = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    return {
        "img_path": Path(data["filename"]).name,
        "cam2img": camera["camera_intrinsic"],
        "sample_data_token": data["token"],
        "timestamp": data["timestamp"] / 1e6,
        "cam2ego": camera2ego.tolist(),
        "lidar2cam": (rigid_inverse(ego2global @ camera2ego) @ lidar2global).tolist(),
    }


def _instances(
    nusc: NuScenes,
    sample: dict,
    lidar2global: np.ndarray,
    categories: dict[str, str] | None,
    classes: tuple[str, ...],
) -> list[dict]:
    _, boxes, _ = nusc.get_sample_data(sample["data"][LIDAR_CHANNEL])
    global2lidar = lidar2global[:3, :3].T
    instances = []
    for box in boxes:
        annotation = nusc.get("sample_annotation", box.token)
        category = annotation["category_name"]
        if categories is None:
            name = category_to_detection_name(category)
        else:
            name = categories.get(category)
        label = classes.index(name) if name in classes else -1
        width, length, height = box.wlh
        # NaN where the object is annotated once only.
        velocity = global2lidar @ nusc.box_velocity(box.token)
        lidar_points, radar_points = annotation["num_lidar_pts"], annotation["num_radar_pts"]
        instances.append(
            {
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox_3d": [
                    *(float(v) for v in (*box.center, length, width, height)),
                    float(box.orientation.yaw_pitch_roll[0]),
                ],
                "bbox_3d_isvalid": lidar_points + radar_points > 0,
                "velocity": [float(v) for v in velocity[:2]],
                "num_lidar_pts": lidar_points,
                "num_radar_pts": radar_points,
            }
        )
    return instances


def info_metainfo(
    version: str, classes: tuple[str, ...] = INFO_CLASSES, own_splits: bool = False
) -> dict:
    """The head of an info file.

    Args:
        version: of the tables.
        classes: in the order of the labels.
        own_splits: whether the scenes are those of a ``splits.json``.
    """
    return {
        **({"splits": "splits.json"} if own_splits else {}),
        "categories": {name: label for label, name in enumerate(classes)},
        "dataset": "nuscenes",
        "version": version,
        "info_version": "1.1",
    }
