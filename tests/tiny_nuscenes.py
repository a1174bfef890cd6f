"""A nuScenes-schema data set of a few kilobytes with exact geometry: the one of all tests.

Two scenes of the mini split, one of 4 key frames to train and one of 5 to validate. A turning ego
vehicle, six objects with constant velocity, and sweeps at 20 Hz whose points lie inside the objects
at the time of the sweep, in the sweep's own LiDAR frame, plus some on the ground.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image
from pyquaternion import Quaternion

SCENES = {"mini_train": "scene-0061", "mini_val": "scene-0103"}
KEY_FRAMES = {"scene-0061": 4, "scene-0103": 5}
SWEEPS_PER_KEY = 10
START_US = 1_532_402_927_647_951
LIDAR_HEIGHT_M = 1.84
# category, (x, y) at the start relative to the start of the ego, (w, l, h), yaw, speed along yaw,
# points per sweep
OBJECTS = (
    ("vehicle.car", (10.0, 4.0), (1.9, 4.6, 1.7), 0.3, 5.0, 40),
    ("vehicle.truck", (-14.0, 9.0), (2.5, 7.0, 3.0), 2.0, 0.0, 60),
    ("human.pedestrian.adult", (6.0, -7.0), (0.7, 0.7, 1.8), -1.2, 1.4, 8),
    ("movable_object.trafficcone", (3.0, 12.0), (0.4, 0.4, 0.9), 0.0, 0.0, 1),
    ("vehicle.bicycle", (-8.0, -9.0), (0.6, 1.7, 1.3), -2.6, 4.0, 10),
    ("animal", (12.0, -3.0), (0.4, 0.8, 0.6), 1.0, 0.0, 6),
)
ATTRIBUTES = ("vehicle.moving", "vehicle.parked", "pedestrian.moving", "cycle.with_rider")
ATTRIBUTE_OF = {
    "vehicle.car": "vehicle.moving",
    "vehicle.truck": "vehicle.parked",
    "human.pedestrian.adult": "pedestrian.moving",
    "vehicle.bicycle": "cycle.with_rider",
}


def token(*words: object) -> str:
    return hashlib.md5(" ".join(map(str, words)).encode()).hexdigest()


def ego_pose(seconds: float) -> tuple[np.ndarray, float]:
    """Position (3,) and yaw of the ego: a left turn at 8 m/s, far from the origin."""
    yaw = 0.7 + 0.4 * seconds
    arc = 8.0 / 0.4 * np.array([np.sin(yaw) - np.sin(0.7), np.cos(0.7) - np.cos(yaw)])
    return np.array([411.3 + arc[0], 1180.9 + arc[1], 0.0]), yaw


def object_centre(index: int, seconds: float) -> np.ndarray:
    _, xy, (_, _, height), yaw, speed, _ = OBJECTS[index]
    start = ego_pose(0.0)[0][:2] + xy
    position = start + speed * seconds * np.array([np.cos(yaw), np.sin(yaw)])
    return np.array([*position, height / 2])


def lidar_to_global(seconds: float) -> np.ndarray:
    position, yaw = ego_pose(seconds)
    ego = Quaternion(axis=[0, 0, 1], radians=yaw).transformation_matrix
    ego[:3, 3] = position
    lidar = Quaternion(axis=[0, 0, 1], degrees=-90).transformation_matrix
    lidar[:3, 3] = [0.94, 0.0, LIDAR_HEIGHT_M]
    return ego @ lidar


def sweep_points(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """(N, 5) float32 in the LiDAR frame at that time; intensity is the object's index + 1."""
    clouds = []
    for index, (_, _, (width, length, height), yaw, _, count) in enumerate(OBJECTS):
        local = (rng.random((count, 3)) - 0.5) * [length, width, height] * 0.98
        turn = Quaternion(axis=[0, 0, 1], radians=yaw).rotation_matrix
        xyz = local @ turn.T + object_centre(index, seconds)
        clouds.append(np.column_stack([xyz, np.full(count, index + 1.0)]))
    ground = np.column_stack([rng.uniform(-50, 50, (200, 2)), np.full(200, -0.5), np.zeros(200)])
    ground[:, :2] += ego_pose(seconds)[0][:2]
    world = np.concatenate([*clouds, ground])
    homogeneous = np.column_stack([world[:, :3], np.ones(len(world))])
    local = homogeneous @ np.linalg.inv(lidar_to_global(seconds)).T
    # Two returns of the ego vehicle itself, which only past sweeps lose.
    ego_hits = np.array([[0.5, -0.5, -1.0, 9.0], [0.2, 0.9, -1.0, 9.0]])
    rows = np.concatenate([np.column_stack([local[:, :3], world[:, 3]]), ego_hits])
    return np.column_stack([rows, np.arange(len(rows)) % 32]).astype(np.float32)


def write_tiny_nuscenes(root: Path, version: str = "v1.0-mini", seed: int = 0) -> Path:
    """Write the data set and return its root."""
    rng = np.random.default_rng(seed)
    (root / "samples/LIDAR_TOP").mkdir(parents=True)
    (root / "sweeps/LIDAR_TOP").mkdir(parents=True)
    (root / "maps").mkdir()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(root / "maps/tiny.png")
    tables = _fixed_tables()
    for scene in SCENES.values():
        _write_scene(root, tables, scene, rng)
    folder = root / version
    folder.mkdir()
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return root


def _fixed_tables() -> dict[str, list[dict]]:
    lidar = Quaternion(axis=[0, 0, 1], degrees=-90)
    logs = [token("log")]
    return {
        "category": [
            {"token": token(o[0]), "name": o[0], "description": "", "index": i}
            for i, o in enumerate(OBJECTS)
        ],
        "attribute": [{"token": token(a), "name": a, "description": ""} for a in ATTRIBUTES],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "instance": [],
        "sensor": [{"token": token("lidar"), "channel": "LIDAR_TOP", "modality": "lidar"}],
        "calibrated_sensor": [
            {
                "token": token("calibration"),
                "sensor_token": token("lidar"),
                "translation": [0.94, 0.0, LIDAR_HEIGHT_M],
                "rotation": list(lidar.elements),
                "camera_intrinsic": [],
            }
        ],
        "ego_pose": [],
        "log": [
            {
                "token": logs[0],
                "logfile": "tiny",
                "vehicle": "tiny",
                "date_captured": "2018-07-24",
                "location": "singapore-onenorth",
            }
        ],
        "map": [
            {
                "token": token("map"),
                "log_tokens": logs,
                "category": "semantic_prior",
                "filename": "maps/tiny.png",
            }
        ],
        "scene": [],
        "sample": [],
        "sample_data": [],
        "sample_annotation": [],
    }


def _write_scene(root: Path, tables: dict, scene: str, rng: np.random.Generator) -> None:
    samples = [token(scene, "sample", k) for k in range(KEY_FRAMES[scene])]
    tables["scene"].append(
        {
            "token": token(scene),
            "log_token": token("log"),
            "nbr_samples": len(samples),
            "first_sample_token": samples[0],
            "last_sample_token": samples[-1],
            "name": scene,
            "description": "",
        }
    )
    for k in range(len(samples)):
        tables["sample"].append(
            {
                "token": samples[k],
                "timestamp": START_US + k * 500_000,
                "prev": samples[k - 1] if k else "",
                "next": samples[k + 1] if k + 1 < len(samples) else "",
                "scene_token": token(scene),
            }
        )
    counts = _write_sweeps(root, tables, scene, samples, rng)
    for index in range(len(OBJECTS)):
        _annotate(tables, scene, samples, index, counts)


def _write_sweeps(root: Path, tables: dict, scene: str, samples: list, rng) -> list[list[int]]:
    """Files, poses and sample_data; returns the points of every object in every key frame."""
    total = (len(samples) - 1) * SWEEPS_PER_KEY + 1
    data = [token(scene, "data", i) for i in range(total)]
    counts = []
    for i in range(total):
        seconds = i * 0.05
        is_key = i % SWEEPS_PER_KEY == 0
        folder = "samples" if is_key else "sweeps"
        stamp = START_US + i * 50_000
        name = f"{folder}/LIDAR_TOP/{scene}__LIDAR_TOP__{stamp}.pcd.bin"
        points = sweep_points(seconds, rng)
        points.tofile(root / name)
        if is_key:
            counts.append([int((points[:, 3] == j + 1).sum()) for j in range(len(OBJECTS))])
        position, yaw = ego_pose(seconds)
        tables["ego_pose"].append(
            {
                "token": data[i],
                "timestamp": stamp,
                "rotation": list(Quaternion(axis=[0, 0, 1], radians=yaw).elements),
                "translation": list(position),
            }
        )
        tables["sample_data"].append(
            {
                "token": data[i],
                "sample_token": samples[-(-i // SWEEPS_PER_KEY)],
                "ego_pose_token": data[i],
                "calibrated_sensor_token": token("calibration"),
                "timestamp": stamp,
                "fileformat": "pcd",
                "is_key_frame": is_key,
                "height": 0,
                "width": 0,
                "filename": name,
                "prev": data[i - 1] if i else "",
                "next": data[i + 1] if i + 1 < total else "",
            }
        )
    return counts


def _annotate(tables: dict, scene: str, samples: list, index: int, counts: list) -> None:
    category, _, size, yaw, _, _ = OBJECTS[index]
    tokens = [token(scene, "annotation", index, k) for k in range(len(samples))]
    tables["instance"].append(
        {
            "token": token(scene, "instance", index),
            "category_token": token(category),
            "nbr_annotations": len(samples),
            "first_annotation_token": tokens[0],
            "last_annotation_token": tokens[-1],
        }
    )
    attributes = [token(ATTRIBUTE_OF[category])] if category in ATTRIBUTE_OF else []
    for k in range(len(samples)):
        tables["sample_annotation"].append(
            {
                "token": tokens[k],
                "sample_token": samples[k],
                "instance_token": token(scene, "instance", index),
                "visibility_token": "4",
                "attribute_tokens": attributes,
                "translation": list(object_centre(index, k * 0.5)),
                "size": list(size),
                "rotation": list(Quaternion(axis=[0, 0, 1], radians=yaw).elements),
                "prev": tokens[k - 1] if k else "",
                "next": tokens[k + 1] if k + 1 < len(samples) else "",
                "num_lidar_pts": counts[k][index],
                "num_radar_pts": 0,
            }
        )
