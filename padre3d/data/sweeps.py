"""Many sweeps in one cloud: the key frame and the sweeps before it, in the key frame's axes.

The choice is the same in training and test: the key frame and the ``num_sweeps - 1`` sweeps before
it, nearest in time first. A frame with fewer past sweeps repeats its oldest one (or itself), so a
network always sees the density that it was trained on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from padre3d.data.point_files import read_points
from padre3d.io.poses import rigid_inverse
from padre3d.io.sweeps import (
    TIME_LAG_COLUMN,
    PastSweep,
    accumulate_sweeps,
    without_close_points,
)

__all__ = [
    "TIME_LAG_COLUMN",
    "Sweep",
    "add_sweeps",
    "keeps_lags",
    "load_cloud",
    "rigid_inverse",
    "sweeps_of_info",
    "trained_sweeps",
    "without_close_points",
]


@dataclass(frozen=True)
class Sweep:
    """A past sweep.

    Attributes:
        path: its point file.
        lidar_from_sensor: (4, 4) the sweep's sensor frame to the key frame's LiDAR frame.
        time_lag_s: how long before the key frame it was taken; positive for the past.
    """

    path: str
    lidar_from_sensor: np.ndarray
    time_lag_s: float


def trained_sweeps(cfg: Mapping[str, Any]) -> dict[str, int]:
    """How many sweeps the clouds of a config's test set have, and every how many one is taken.

    Args:
        cfg: a config; its ``test_dataloader`` may wrap the data set.

    Returns:
        ``num_sweeps`` and ``stride`` of its ``LoadSweeps``, 1 and 1 where no step loads sweeps;
        empty without a pipeline, or with another step that loads them.
    """
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    if "pipeline" not in dataset:
        return {}
    for step in dataset["pipeline"]:
        kind = str(getattr(step["type"], "__name__", step["type"])).rpartition(".")[2]
        if kind == "LoadSweeps":
            return {"num_sweeps": step.get("num_sweeps", 10), "stride": step.get("stride", 1)}
        if "Sweeps" in kind:
            return {}
    return {"num_sweeps": 1, "stride": 1}


def sweeps_of_info(info: dict, root: str = "") -> list[Sweep]:
    """Past sweeps of an mmdet3d info, nearest in time first.

    Args:
        info: the frame's info.
        root: directory to which relative paths refer.
    """
    return [
        Sweep(
            path=os.path.join(root, sweep["lidar_points"]["lidar_path"]),
            lidar_from_sensor=rigid_inverse(np.asarray(sweep["lidar_points"]["lidar2sensor"])),
            time_lag_s=info["timestamp"] - sweep["timestamp"],
        )
        for sweep in info.get("lidar_sweeps", [])
    ]


def keeps_lags(info: Mapping[str, Any]) -> bool:
    """Whether a frame's cloud is used as it is, with the time lags in its file.

    tools/create_data.py says so of clouds of one's own that no sweep is joined to: detection reads
    their lags too.
    """
    return bool(info.get("lidar_points", {}).get("time_lag", False))


def load_cloud(
    path: str,
    sweeps: Sequence[Sweep],
    *,
    num_sweeps: int = 10,
    columns: int = 5,
    close_radius_m: float = 1.0,
    pad: bool = True,
) -> np.ndarray:
    """Load a key frame with its past sweeps.

    Args:
        path: point file of the key frame; all of its points are kept.
        sweeps: past sweeps, nearest in time first; the first ``num_sweeps - 1`` are used.
        num_sweeps: sweeps in the cloud, the key frame included.
        columns: columns of the files: x, y, z, intensity, and one that the time lag replaces.
        close_radius_m: half side of the square cut around the sensor in every past sweep.
        pad: repeat the oldest sweep until there are ``num_sweeps``; a frame without any past
            repeats itself with time lag 0.

    Returns:
        (N, columns) float32: x, y, z in metres, intensity as stored, time lag in seconds (0 on the
        key frame). The key frame's points come first.

    Raises:
        FileNotFoundError, ValueError: see :func:`padre3d.data.point_files.read_points`.
    """
    return add_sweeps(
        read_points(path, columns),
        sweeps,
        num_sweeps=num_sweeps,
        close_radius_m=close_radius_m,
        pad=pad,
    )


def add_sweeps(
    key_points: np.ndarray,
    sweeps: Sequence[Sweep],
    *,
    num_sweeps: int = 10,
    close_radius_m: float = 1.0,
    pad: bool = True,
) -> np.ndarray:
    """Extend the points of a key frame by its past sweeps.

    Args:
        key_points: (P, columns) float32, at least 5 columns; not changed.
        sweeps, num_sweeps, close_radius_m, pad: as for :func:`load_cloud`.

    Returns:
        As :func:`load_cloud`.
    """
    columns = key_points.shape[1]
    past = [
        PastSweep(read_points(s.path, columns), s.lidar_from_sensor, s.time_lag_s)
        for s in sweeps[: num_sweeps - 1]
    ]
    return accumulate_sweeps(
        key_points, past, num_sweeps=num_sweeps, close_radius_m=close_radius_m, pad=pad
    )
