"""The devkit's tables for those who have no maps, no counted points, or boxes that are none."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.utils.data_classes import Box

from padre3d.data.boxes import box_fault, points_in_boxes
from padre3d.data.point_files import read_points

LIDAR_CHANNEL = "LIDAR_TOP"
# Rounded to five digits a quaternion's length is off by less.
UNIT_TOLERANCE = 1e-3


class _NoMaps(list):
    """No rows, of which the devkit wants to see the first."""

    def __getitem__(self, index: Any) -> Any:
        return {"log_tokens": ()}


class LidarTables(NuScenes):
    """The official tables; maps may be absent, and annotations that are no boxes are left out.

    Attributes:
        dropped: token and fault of every annotation left out.
    """

    def __load_table__(self, table_name: str) -> list[dict]:
        path = Path(self.table_root) / "map.json"
        if table_name in ("map", "log") and not json.loads(path.read_text()):
            return _NoMaps() if table_name == "map" else []
        return super().__load_table__(table_name)

    def __make_reverse_index__(self, verbose: bool) -> None:
        super().__make_reverse_index__(verbose)
        self.dropped: list[str] = []
        for row in self.sample_annotation:
            fault = annotation_fault(row)
            if fault:
                self.get("sample", row["sample_token"])["anns"].remove(row["token"])
                self.dropped.append(f"annotation {row['token']}: {fault}")


def annotation_fault(row: dict) -> str | None:
    """What is wrong with a sample_annotation, or None."""
    width, length, height = row["size"]
    fault = box_fault([*row["translation"], length, width, height, 0.0])
    return fault or _rotation_fault(row["rotation"])


def check_tokens(nusc: NuScenes) -> None:
    """Raise ValueError naming a token that a table has twice."""
    for table in nusc.table_names:
        counts = Counter(row["token"] for row in getattr(nusc, table))
        twice = [token for token, count in counts.items() if count > 1]
        if twice:
            raise ValueError(
                f"{table}.json: expected every token once, got {twice[0]} {counts[twice[0]]} times"
            )


def _rotation_fault(quaternion: list[float]) -> str | None:
    length = float(np.linalg.norm(quaternion))
    if not abs(length - 1) <= UNIT_TOLERANCE:
        return f"rotation {quaternion} has length {length:g}, not 1"
    return None


def _bottom_row(box: Box) -> list[float]:
    width, length, height = box.wlh
    x, y, z = box.center
    return [x, y, z - height / 2, length, width, height, box.orientation.yaw_pitch_roll[0]]


def count_points(nusc: NuScenes, samples: Iterable[dict], columns: int = 5) -> int:
    """Count the points of the annotations that do not say how many they have.

    Args:
        nusc: the tables; ``num_lidar_pts`` and ``num_radar_pts`` are filled in.
        samples: sample records whose annotations count; only their key frames are read.
        columns: of the point files.

    Returns:
        The number of annotations that were counted.
    """
    counted = 0
    for sample in samples:
        rows = [nusc.get("sample_annotation", token) for token in sample["anns"]]
        missing = [row for row in rows if row.get("num_lidar_pts") is None]
        for row in rows:
            row.setdefault("num_radar_pts", 0)
        if not missing:
            continue
        token = sample["data"][LIDAR_CHANNEL]
        file = os.path.join(nusc.dataroot, nusc.get("sample_data", token)["filename"])
        _, boxes, _ = nusc.get_sample_data(token, selected_anntokens=[r["token"] for r in missing])
        inside = points_in_boxes(read_points(file, columns), np.array([*map(_bottom_row, boxes)]))
        for row, found in zip(missing, inside, strict=True):
            row["num_lidar_pts"] = len(found)
        counted += len(missing)
    return counted
