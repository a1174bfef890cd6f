"""The pipeline step that makes a frame's cloud of its sweeps."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.structures.points import LiDARPoints

from padre3d.data.point_files import check_finite, read_points
from padre3d.data.sweeps import TIME_LAG_COLUMN, add_sweeps, keeps_lags, sweeps_of_info
from padre3d.io.time_field import column_lag


class LoadSweeps(BaseTransform):
    """Extend ``results['points']`` by a frame's past sweeps; the last column is the time lag.

    The points are those of mmdet3d's ``LoadPointsFromFile`` or ``LoadPointsFromDict`` before this
    step; without such a step they are read from ``results['lidar_points']['lidar_path']``.

    - A frame of a data set has ``lidar_sweeps`` or ``sample_idx``: its own points get lag 0, the
      past sweeps follow. With ``time_lag`` in ``lidar_points`` it stays as it is in its file.
    - Any other cloud, such as those of mmdet3d's inference functions, stays one cloud of its
      points. Its fifth column may be a ring index, which lag 0 replaces, or the lag of a cloud that
      holds several sweeps already: ``time_lag`` decides.

    Args:
        num_sweeps: sweeps in the cloud, the key frame included.
        stride: take every ``stride``-th past sweep: as far back with fewer points.
        load_dim: columns of the points and of the point files, at least 5.
        close_radius_m: half side of the square cut around the sensor in past sweeps.
        pad: repeat the oldest sweep where a frame has fewer.
        time_lag: whether the fifth column of a cloud without a frame is a time lag in s (True) or
            not (False); None: unless it holds whole numbers, as :mod:`padre3d.io.columns`.

    Raises:
        ValueError: if ``load_dim`` or ``num_sweeps`` is too small, if the info or the points before
            have another number of columns, if a file is malformed, or if a frame's value is NaN or
            infinite.
    """

    def __init__(
        self,
        num_sweeps: int = 10,
        load_dim: int = 5,
        close_radius_m: float = 1.0,
        pad: bool = True,
        stride: int = 1,
        time_lag: bool | None = None,
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
        self.time_lag = time_lag

    def transform(self, results: dict) -> dict:
        """Set ``points``, LiDARPoints (N, load_dim): see :func:`padre3d.data.sweeps.load_cloud`."""
        lidar = results.get("lidar_points", {})
        path = lidar.get("lidar_path", "points")
        declared = lidar.get("num_pts_feats", self.load_dim)
        if declared != self.load_dim:
            raise ValueError(
                f"{path}: LoadSweeps expected {self.load_dim} columns, the info declares {declared}"
            )
        points = self._own_points(results, path)
        if "lidar_sweeps" in results or "sample_idx" in results:
            check_finite(points, path)
            if not keeps_lags(results):
                points = add_sweeps(
                    points,
                    sweeps_of_info(results)[self.stride - 1 :: self.stride],
                    num_sweeps=self.num_sweeps,
                    close_radius_m=self.close_radius_m,
                    pad=self.pad,
                )
        else:
            # A copy: the points of an array in memory are the caller's.
            points = points.copy()
            try:
                lags, _, warning = column_lag(points[:, TIME_LAG_COLUMN], self.time_lag, None)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            if warning:
                warnings.warn(f"{path}: {warning}", stacklevel=2)
            points[:, TIME_LAG_COLUMN] = lags
        results["points"] = LiDARPoints(torch.from_numpy(points), points_dim=self.load_dim)
        return results

    def _own_points(self, results: dict, path: str) -> np.ndarray:
        """The points (P, load_dim) of the steps before, else of the file."""
        if "points" not in results:
            return read_points(path, self.load_dim)
        given = results["points"]
        if not isinstance(given, LiDARPoints) or given.shape[1] != self.load_dim:
            what = f"{type(given).__name__} of shape {tuple(given.shape)}"
            raise ValueError(
                f"{path}: LoadSweeps expected LiDARPoints of {self.load_dim} columns, got {what}"
            )
        return given.numpy()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_sweeps={self.num_sweeps}, load_dim={self.load_dim})"
