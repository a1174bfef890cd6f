"""The pipeline step that loads a frame's cloud."""

from __future__ import annotations

import torch
from mmcv.transforms import BaseTransform
from mmdet3d.structures.points import LiDARPoints

from padre3d.data.sweeps import TIME_LAG_COLUMN, load_cloud, sweeps_of_info


class LoadSweeps(BaseTransform):
    """Load ``results['points']`` from a frame's info, past sweeps included.

    Args:
        num_sweeps: sweeps in the cloud, the key frame included.
        stride: take every ``stride``-th past sweep: as far back with fewer points.
        load_dim: columns of the point files, at least 5.
        close_radius_m: half side of the square cut around the sensor in past sweeps.
        pad: repeat the oldest sweep where a frame has fewer.

    Raises:
        ValueError: if ``load_dim`` or ``num_sweeps`` is too small, if the info declares another
            number of columns, or if a file is malformed.
    """

    def __init__(
        self,
        num_sweeps: int = 10,
        load_dim: int = 5,
        close_radius_m: float = 1.0,
        pad: bool = True,
        stride: int = 1,
    ) -> None:
        if load_dim <= TIME_LAG_COLUMN:
            raise ValueError(f"LoadSweeps expected load_dim >= 5, got {load_dim}")
        if num_sweeps < 1:
            raise ValueError(f"LoadSweeps expected num_sweeps >= 1, got {num_sweeps}")
        if stride < 1:
            raise ValueError(f"LoadSweeps expected stride >= 1, got {stride}")
        self.num_sweeps, self.stride = num_sweeps, stride
        self.load_dim = load_dim
        self.close_radius_m = close_radius_m
        self.pad = pad

    def transform(self, results: dict) -> dict:
        """Add ``points``, LiDARPoints (N, load_dim): see :func:`load_cloud`."""
        lidar = results["lidar_points"]
        declared = lidar.get("num_pts_feats", self.load_dim)
        if declared != self.load_dim:
            raise ValueError(
                f"{lidar['lidar_path']}: LoadSweeps expected {self.load_dim} columns, "
                f"the info declares {declared}"
            )
        points = load_cloud(
            lidar["lidar_path"],
            sweeps_of_info(results)[self.stride - 1 :: self.stride],
            num_sweeps=self.num_sweeps,
            columns=self.load_dim,
            close_radius_m=self.close_radius_m,
            pad=self.pad,
        )
        results["points"] = LiDARPoints(torch.from_numpy(points), points_dim=self.load_dim)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_sweeps={self.num_sweeps}, load_dim={self.load_dim})"
