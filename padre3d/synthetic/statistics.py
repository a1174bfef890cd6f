"""Figures of a data set to be held against real frames."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.synthetic.catalog import CLASS_TO_CATEGORY
from padre3d.synthetic.meshes import Array

PILLAR_RANGE_M = (-54.0, 54.0)
PILLAR_Z_M = (-5.0, 3.0)
PILLAR_M = 0.3
DISTANCES_M = (0.0, 20.0, 40.0, 80.0)


def occupied_pillars(xyz: Array) -> int:
    """Number of 0.3 m pillars within +-54 m that hold one of the points (N, 3), LiDAR frame."""
    low, high = PILLAR_RANGE_M
    cells = round((high - low) / PILLAR_M)
    z = xyz[:, 2]
    cell = np.floor((xyz[:, :2] - low) / PILLAR_M).astype(np.int64)
    inside = ((cell >= 0) & (cell < cells)).all(1) & (z >= PILLAR_Z_M[0]) & (z <= PILLAR_Z_M[1])
    return len(np.unique(cell[inside, 1] * cells + cell[inside, 0]))


@dataclass
class SceneStatistics:
    """What one scene adds."""

    boxes: list[tuple[str, int, float]] = field(default_factory=list)
    pillars: list[int] = field(default_factory=list)
    ten_sweep_points: list[int] = field(default_factory=list)
    frames: int = 0

    def add_box(self, class_name: str, points: int, distance_m: float) -> None:
        """Note an annotation."""
        self.boxes.append((class_name, points, distance_m))

    def add_frame(
        self, xyz: Array, earlier: Iterable[np.ndarray], pose: tuple[Array, Array]
    ) -> None:
        """Note a key frame; the ten-sweep figures need nine earlier sweeps in the global frame."""
        self.frames += 1
        clouds = list(earlier)[-9:]
        if len(clouds) == 9:
            past = (np.concatenate(clouds) - pose[1]) @ pose[0]
            cloud = np.concatenate([xyz, past])
            self.pillars.append(occupied_pillars(cloud))
            self.ten_sweep_points.append(len(cloud))


def summarise(scenes: list[SceneStatistics]) -> dict[str, Any]:
    """The data set's figures; every median is over all boxes of a class at a distance."""
    boxes = [box for scene in scenes for box in scene.boxes]
    frames = sum(scene.frames for scene in scenes)
    pillars = [n for scene in scenes for n in scene.pillars]
    points = [n for scene in scenes for n in scene.ten_sweep_points]
    return {
        "scenes": len(scenes),
        "key_frames": frames,
        "boxes_per_frame": len(boxes) / max(frames, 1),
        "classes": class_table(boxes, frames),
        "occupied_pillars": _spread(pillars),
        "ten_sweep_points": _spread(points),
    }


def class_table(boxes: list[tuple[str, int, float]], frames: int) -> dict[str, dict[str, Any]]:
    """For each class: boxes per frame, share without points, median points by distance."""
    table = {}
    for name in CLASS_TO_CATEGORY:
        points = np.array([p for n, p, _ in boxes if n == name])
        distance = np.array([r for n, _, r in boxes if n == name])
        row: dict[str, Any] = {
            "boxes": len(points),
            "boxes_per_frame": len(points) / max(frames, 1),
            "without_points": float((points == 0).mean()) if len(points) else None,
        }
        for low, high in zip(DISTANCES_M[:-1], DISTANCES_M[1:], strict=True):
            at = points[(distance >= low) & (distance < high)] if len(points) else points
            row[f"median_points_{low:g}_{high:g}m"] = float(np.median(at)) if len(at) else None
        table[name] = row
    return table


def _spread(values: list[int]) -> dict[str, float] | None:
    if not values:
        return None
    quantiles = np.percentile(values, [0, 50, 100])
    return dict(zip(("min", "median", "max"), (float(v) for v in quantiles), strict=True))


def real_statistics(path: Path) -> dict[str, Any]:
    """The same figures of real frames.

    Args:
        path: an annotation (``{"boxes": [{"name", "center_m", "num_lidar_pts"}]}``) or a folder
            that holds one, and maybe a ``*_10sweeps_float16.bin`` cloud.

    Raises:
        FileNotFoundError: if there is no annotation.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"expected an annotation *.json at {path}, found none")
    boxes = []
    for file in files:
        for row in json.loads(file.read_text())["boxes"]:
            distance = float(np.hypot(*row["center_m"][:2]))
            boxes.append((row["name"], int(row["num_lidar_pts"]), distance))
    clouds = [] if path.is_file() else sorted(path.glob("*_10sweeps_float16.bin"))
    xyz = [np.fromfile(c, np.float16).reshape(-1, 5)[:, :3].astype(float) for c in clouds]
    return {
        "scenes": len(files),
        "key_frames": len(files),
        "boxes_per_frame": len(boxes) / len(files),
        "classes": class_table(boxes, len(files)),
        "occupied_pillars": _spread([occupied_pillars(c) for c in xyz]),
        "ten_sweep_points": _spread([len(c) for c in xyz]),
    }


def format_statistics(made: dict[str, Any], real: dict[str, Any] | None = None) -> str:
    """A table for people; real figures follow in brackets."""

    def cell(path: tuple[str, ...], digits: int) -> str:
        texts = []
        for source in (made, real):
            value: Any = source
            for key in path:
                value = value[key] if value is not None else None
            texts.append("-" if value is None else f"{value:.{digits}f}")
        return texts[0] if real is None else f"{texts[0]} ({texts[1]})"

    columns = [("boxes/frame", "boxes_per_frame", 2), ("no points", "without_points", 2)]
    columns += [
        (f"points {a:g}-{b:g} m", f"median_points_{a:g}_{b:g}m", 0)
        for a, b in zip(DISTANCES_M[:-1], DISTANCES_M[1:], strict=True)
    ]
    lines = [f"{'class':21s}" + "".join(f"{title:>18s}" for title, _, _ in columns)]
    for name in made["classes"]:
        cells = [cell(("classes", name, key), digits) for _, key, digits in columns]
        lines.append(f"{name:21s}" + "".join(f"{text:>18s}" for text in cells))
    lines.append(f"boxes per frame: {cell(('boxes_per_frame',), 1)}")
    for title, key in (
        ("occupied 0.3 m pillars", "occupied_pillars"),
        ("points in ten sweeps", "ten_sweep_points"),
    ):
        parts = [f"{part} {cell((key, part), 0)}" for part in ("min", "median", "max")]
        lines.append(f"{title}: {', '.join(parts)}")
    return "\n".join(lines)
