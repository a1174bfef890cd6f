"""One scene: build its world, drive through it, write its sweeps, return its table rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from padre3d.synthetic.actors import Actor
from padre3d.synthetic.cameras import camera_rows
from padre3d.synthetic.layout import Layout
from padre3d.synthetic.lidar import LIDAR_IN_EGO_M, SWEEP_S, Lidar
from padre3d.synthetic.meshes import Array, Mesh, merge, rotation
from padre3d.synthetic.statistics import SceneStatistics
from padre3d.synthetic.street import Street
from padre3d.synthetic.tables import Row, link, token
from padre3d.synthetic.traffic import (
    WARM_UP_S,
    all_lanes,
    follow,
    lane_actors,
    walkers,
)

KEY_FRAME_EVERY = 10
ANNOTATION_RANGE_M = 80.0
CAST_RANGE_M = 110.0

Pose = tuple[Array, Array]


@dataclass
class SceneTask:
    """What a worker needs to make a scene."""

    root: Path
    name: str
    index: int
    seed: int
    num_sweeps: int


@dataclass
class SceneResult:
    """Rows for the tables and the figures for the statistics."""

    rows: dict[str, list[Row]]
    statistics: SceneStatistics


@dataclass
class World:
    """A scene before the LiDAR sees it.

    Attributes:
        ego: (rotation, translation) ego-to-global, one more than sweeps: entry ``k`` is the start
            and ``k + 1`` the end of sweep ``k``.
        lidar_in_ego: calibration.
    """

    street: Street
    clutter: Mesh
    actors: list[Actor]
    ego: list[Pose]
    lidar_in_ego: Pose

    def lidar_pose(self, index: int) -> Pose:
        """LiDAR-to-global pose at the start of sweep ``index``."""
        turn, shift = self.ego[index]
        return turn @ self.lidar_in_ego[0], turn @ self.lidar_in_ego[1] + shift


def build_world(seed: int, index: int, num_sweeps: int) -> World:
    """Draw the world of a scene; the same numbers give the same world."""
    rng = np.random.default_rng([seed, index])
    steps = num_sweeps + 1
    warm_up = round(WARM_UP_S / SWEEP_S)
    ego_wish = float(rng.uniform(4.0, 12.0))
    street = Street(rng, ego_wish * (steps * SWEEP_S + WARM_UP_S))
    layout = Layout(street, rng)
    actors = list(layout.actors)
    lanes = all_lanes(street, rng, ego_wish)
    ego_s = np.zeros(0)
    for n, lane in enumerate(lanes):
        track = follow(lane, warm_up + steps, SWEEP_S)[warm_up:]
        if n == 0:
            ego_s = track[:, lane.kinds.index("ego")]
        actors += lane_actors(street, rng, lane, track[1:])
    actors += walkers(street, rng, SWEEP_S * np.arange(num_sweeps))
    sway = 0.15 * np.sin(ego_s / 25.0)
    ego = _ego_poses(street, ego_s, lanes[0].offset_m + sway)
    clutter = merge([street.mesh(rng), *layout.meshes])
    return World(street, clutter, actors, ego, _mounting(rng))


def _ego_poses(street: Street, s: Array, d: Array) -> list[Pose]:
    xy = street.xy(s, d)
    z, heading, slope = street.terrain_m(xy), street.heading(s), street.slope(xy)
    poses = []
    for n in range(len(s)):
        up = np.array([-slope[n, 0], -slope[n, 1], 1.0])
        up /= np.linalg.norm(up)
        ahead = np.array([np.cos(heading[n]), np.sin(heading[n]), 0.0])
        ahead -= up * (ahead @ up)
        ahead /= np.linalg.norm(ahead)
        turn = np.stack([ahead, np.cross(up, ahead), up], 1)
        poses.append((turn, np.array([*xy[n], z[n]])))
    return poses


def _mounting(rng: np.random.Generator) -> Pose:
    """The LiDAR's +y looks forward (yaw -90 degrees); it is tilted by about half a degree."""
    tilt = Rotation.from_euler("xyz", rng.normal(scale=0.5, size=3), degrees=True).as_matrix()
    return rotation(-np.pi / 2) @ tilt, np.array(LIDAR_IN_EGO_M)


def posed_mesh(actor: Actor, sweep: int) -> Mesh:
    """An actor's mesh in the global frame, in the step of its walk."""
    at, mesh = actor.at(sweep), actor.mesh
    if mesh.swing.any():
        vertices = mesh.vertices.copy()
        vertices[:, 0] += mesh.swing * np.sin(actor.gait[at])
        mesh = Mesh(vertices, mesh.faces, mesh.material, mesh.swing)
    return mesh.moved(actor.centre_m[at], float(actor.yaw[at]), float(actor.pitch[at]))


def make_scene(
    task: SceneTask, advance: Callable[[int], None] = lambda sweeps: None
) -> SceneResult:
    """Write a scene's point files and return its rows.

    Args:
        task: what to make.
        advance: called with the number of sweeps written since the last call.
    """
    world = build_world(task.seed, task.index, task.num_sweeps)
    still = [posed_mesh(a, 0) for a in world.actors if not a.moves]
    turn, shift = world.lidar_in_ego
    texture_rng = np.random.default_rng([task.seed, task.index, task.num_sweeps, 1])
    lidar = Lidar(merge([world.clutter, *still]), texture_rng, (turn.T, -turn.T @ shift))
    recorder = _Recorder(task, world)
    for sweep in range(task.num_sweeps):
        poses = world.lidar_pose(sweep), world.lidar_pose(sweep + 1)
        moving = [
            posed_mesh(a, sweep)
            for a in world.actors
            if a.moves and np.hypot(*(a.centre_m[sweep] - poses[1][1])[:2]) < CAST_RANGE_M
        ]
        rng = np.random.default_rng([task.seed, task.index, sweep])
        points = lidar.sweep(poses, moving, rng)
        recorder.add_sweep(sweep, points, poses[1])
        advance(1)
    return recorder.finish()


def count_points(points: Array, centre: Array, yaw: float, size_lwh_m: tuple) -> int:
    """Points (N, 3) inside a box with a level floor, faces included; all in one frame."""
    half = np.asarray(size_lwh_m) / 2
    offset = points - centre
    offset = offset[np.einsum("ij,ij->i", offset, offset) <= half @ half]
    inside = np.abs(offset @ rotation(yaw)) <= half
    return int(inside.all(1).sum())


def visibility_token(points: int, distance_m: float, size_lwh_m: tuple) -> str:
    """The share of an unoccluded object's beams that returned, as a visibility token."""
    length, width, height = size_lwh_m
    across = np.degrees(0.64 * (length + width) / max(distance_m, 2.0)) / (360 / 1084)
    tall = max(np.degrees(height / max(distance_m, 2.0)) / (41.34 / 31), 1.0)
    share = points / max(0.55 * across * tall, 1.0)
    return str(1 + int(np.searchsorted([0.4, 0.6, 0.8], share)))


@dataclass
class _Recorder:
    """Collects what the tables need while the sweeps go by."""

    task: SceneTask
    world: World
    counts: list[dict[int, int]] = field(default_factory=list)
    ego_rows: list[Row] = field(default_factory=list)
    data_rows: list[Row] = field(default_factory=list)
    sample_rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.statistics = SceneStatistics()
        self.recent: deque[NDArray[np.float32]] = deque(maxlen=10)
        self.log_name = f"synthetic-{self.task.seed}-{self.task.name}"
        # Scenes are days apart: a time stamp names one sweep of the whole data set.
        self.start_us = 1_532_400_000_000_000 + self.task.index * 86_400_000_000

    def token(self, *names: object) -> str:
        """Token of a record of this scene."""
        return token(self.task.seed, self.task.name, *names)

    def add_sweep(self, sweep: int, points: NDArray[np.float32], pose: Pose) -> None:
        """Write the points (P, 5) of sweep number ``sweep`` and note its records."""
        key = sweep % KEY_FRAME_EVERY == 0
        timestamp = self.start_us + round(sweep * SWEEP_S * 1e6)
        folder = "samples" if key else "sweeps"
        filename = f"{folder}/LIDAR_TOP/{self.log_name}__LIDAR_TOP__{timestamp}.pcd.bin"
        points.tofile(self.task.root / filename)
        turn, shift = self.world.ego[sweep + 1]
        self.ego_rows.append(
            {
                "token": self.token("ego", sweep),
                "timestamp": timestamp,
                "rotation": quaternion(turn),
                "translation": shift.tolist(),
            }
        )
        if key:
            self.sample_rows.append(
                {
                    "token": self.token("sample", sweep),
                    "timestamp": timestamp,
                    "prev": "",
                    "next": "",
                    "scene_token": self.token("scene"),
                }
            )
        self.data_rows.append(
            {
                "token": self.token("data", sweep),
                "sample_token": self.sample_rows[-1]["token"],
                "ego_pose_token": self.ego_rows[-1]["token"],
                "calibrated_sensor_token": self.token("calibration"),
                "timestamp": timestamp,
                "fileformat": "pcd",
                "is_key_frame": key,
                "height": 0,
                "width": 0,
                "filename": filename,
                "prev": "",
                "next": "",
            }
        )
        xyz = points[:, :3].astype(np.float64)
        global_xyz = xyz @ pose[0].T + pose[1]
        far = np.abs(xyz[:, :2]).max(1) >= 1.0  # what the loaders keep of earlier sweeps
        if key:
            self._count(sweep, global_xyz, pose)
            self.statistics.add_frame(xyz, self.recent, pose)
        self.recent.append(global_xyz[far].astype(np.float32))

    def _count(self, sweep: int, global_xyz: Array, pose: Pose) -> None:
        counts = {}
        for n, actor in enumerate(self.world.actors):
            at = actor.at(sweep)
            if np.hypot(*(actor.centre_m[at] - pose[1])[:2]) < ANNOTATION_RANGE_M:
                counts[n] = count_points(
                    global_xyz, actor.centre_m[at], float(actor.yaw[at]), actor.size_lwh_m
                )
        self.counts.append(counts)

    def finish(self) -> SceneResult:
        """Records of the scene: an actor is annotated from its first to its last seen frame."""
        instances, annotations = [], []
        for n, actor in enumerate(self.world.actors):
            # From the first to the last key frame with a point: between them it is tracked.
            frames = [f for f, counts in enumerate(self.counts) if counts.get(n, 0) > 0]
            if frames:
                chain = self._annotate(n, actor, range(frames[0], frames[-1] + 1))
                annotations += chain
                instances.append(
                    {
                        "token": self.token("instance", n),
                        "category_token": token(self.task.seed, "category", actor.category()),
                        "nbr_annotations": len(chain),
                        "first_annotation_token": chain[0]["token"],
                        "last_annotation_token": chain[-1]["token"],
                    }
                )
        rows = {
            "instance": instances,
            "sample_annotation": annotations,
            "ego_pose": self.ego_rows,
            "sample": link(self.sample_rows),
            "sample_data": link(self.data_rows),
            **self._scene_rows(),
        }
        cameras = camera_rows(
            self.task.seed,
            self.token,
            self.log_name,
            self.sample_rows,
            [row["token"] for row in self.ego_rows[::KEY_FRAME_EVERY]],
            self.task.root,
        )
        for name, more in cameras.items():
            rows[name] += more
        return SceneResult(rows, self.statistics)

    def _annotate(self, n: int, actor: Actor, frames: range) -> list[Row]:
        rows = []
        for frame in frames:
            sweep = frame * KEY_FRAME_EVERY
            at = actor.at(sweep)
            length, width, height = actor.size_lwh_m
            points = self.counts[frame].get(n, 0)
            _, eye = self.world.lidar_pose(sweep + 1)
            distance = float(np.hypot(*(actor.centre_m[at] - eye)[:2]))
            attribute = actor.attribute(sweep, SWEEP_S)
            kinds = [token(self.task.seed, "attribute", attribute)] if attribute else []
            rows.append(
                {
                    "token": self.token("annotation", n, frame),
                    "sample_token": self.sample_rows[frame]["token"],
                    "instance_token": self.token("instance", n),
                    "visibility_token": visibility_token(points, distance, actor.size_lwh_m),
                    "attribute_tokens": kinds,
                    "translation": actor.centre_m[at].tolist(),
                    "size": [width, length, height],
                    "rotation": quaternion(rotation(float(actor.yaw[at]))),
                    "prev": "",
                    "next": "",
                    "num_lidar_pts": points,
                    "num_radar_pts": 0,
                }
            )
            self.statistics.add_box(actor.class_name, points, distance)
        return link(rows)

    def _scene_rows(self) -> dict[str, list[Row]]:
        samples = self.sample_rows
        turn, shift = self.world.lidar_in_ego
        return {
            "scene": [
                {
                    "token": self.token("scene"),
                    "log_token": self.token("log"),
                    "nbr_samples": len(samples),
                    "first_sample_token": samples[0]["token"],
                    "last_sample_token": samples[-1]["token"],
                    "name": self.task.name,
                    "description": "Synthetic street",
                }
            ],
            "log": [
                {
                    "token": self.token("log"),
                    "logfile": self.log_name,
                    "vehicle": "synthetic",
                    "date_captured": "2018-07-24",
                    "location": f"synthetic-{self.task.index}",
                }
            ],
            "calibrated_sensor": [
                {
                    "token": self.token("calibration"),
                    "sensor_token": token(self.task.seed, "sensor"),
                    "translation": shift.tolist(),
                    "rotation": quaternion(turn),
                    "camera_intrinsic": [],
                }
            ],
            "map": [
                {
                    "token": self.token("map"),
                    "log_tokens": [self.token("log")],
                    "category": "semantic_prior",
                    "filename": self._write_map(),
                }
            ],
        }

    def _write_map(self) -> str:
        filename = f"maps/{self.token('map')}.png"
        self.world.street.write_mask(self.task.root / filename)
        return filename


def quaternion(matrix: Array) -> list[float]:
    """Rotation matrix to w, x, y, z with w >= 0."""
    x, y, z, w = Rotation.from_matrix(matrix).as_quat()
    sign = -1.0 if w < 0 else 1.0
    return [sign * float(v) for v in (w, x, y, z)]
