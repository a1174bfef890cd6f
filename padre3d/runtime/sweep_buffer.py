"""The ten-sweep cloud of a live sensor, from single clouds and poses; torch is not imported."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from padre3d.io.poses import checked_pose, rigid_inverse
from padre3d.io.sweeps import PastSweep, accumulate_sweeps


class SweepBuffer:
    """Keeps the last clouds of a moving sensor and gives them in the axes of the newest.

    ``buffer.push(points, stamp_s, pose)`` for every cloud, ``boxes = runtime(buffer.cloud())`` when
    boxes are wanted. What comes out is what the detector was trained on: see
    :func:`padre3d.io.sweeps.accumulate_sweeps`.

    Args:
        num_sweeps: sweeps in the cloud, the newest included.
        stride: take every ``stride``-th cloud before the newest: 20 Hz models on a 40 Hz sensor.
        close_radius_m: half side of the square cut around the sensor in past sweeps.
        pad: repeat the oldest sweep while there are fewer, as in training.
        max_lag_s: leave out sweeps older than this; None keeps them.
        lidar_to_ego: (4, 4) or 7 numbers: the frame of the points in the frame of the poses; None
            where they are the same.

    Raises:
        ValueError: if a number is not positive, sweeps or stride are not whole, or the calibration
            is no pose.
    """

    def __init__(
        self,
        num_sweeps: int = 10,
        *,
        stride: int = 1,
        close_radius_m: float = 1.0,
        pad: bool = True,
        max_lag_s: float | None = None,
        lidar_to_ego: np.ndarray | Sequence[float] | None = None,
    ) -> None:
        for name, value in (("num_sweeps", num_sweeps), ("stride", stride)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"SweepBuffer expected a whole {name} >= 1, got {value}")
        if max_lag_s is not None and not max_lag_s > 0:
            raise ValueError(f"SweepBuffer expected max_lag_s > 0, got {max_lag_s}")
        self.num_sweeps, self.stride = num_sweeps, stride
        self.close_radius_m, self.pad, self.max_lag_s = close_radius_m, pad, max_lag_s
        self._lidar_to_ego = np.eye(4) if lidar_to_ego is None else checked_pose(lidar_to_ego)
        self._clouds: deque[tuple[np.ndarray, float, np.ndarray]] = deque(
            maxlen=(num_sweeps - 1) * stride + 1
        )

    def __len__(self) -> int:
        """Clouds kept."""
        return len(self._clouds)

    def clear(self) -> None:
        """Forget every cloud, as at the start of another recording."""
        self._clouds.clear()

    def push(self, points: np.ndarray, stamp_s: float, pose: np.ndarray | Sequence[float]) -> None:
        """Add the newest cloud; it is copied.

        Args:
            points: (P, >= 4) x, y, z in m and intensity in the sensor's frame. Columns after the
                fourth are not used: all points of a sweep get its lag.
            stamp_s: when it was taken, in seconds; later than the cloud before.
            pose: ego vehicle to a fixed frame at that time: (4, 4), or x, y, z, qw, qx, qy, qz.

        Raises:
            ValueError: on another shape, a time that does not grow or a pose that is none; the
                buffer is unchanged then.
        """
        points = np.asarray(points)
        if points.ndim != 2 or points.shape[1] < 4:
            raise ValueError(f"points: expected shape (P, >= 4), got {points.shape}")
        if not np.isfinite(stamp_s):
            raise ValueError(f"stamp_s: expected a finite number of seconds, got {stamp_s}")
        if self._clouds and stamp_s <= self._clouds[-1][1]:
            raise ValueError(
                f"stamp_s: expected a time after {self._clouds[-1][1]}, got {stamp_s}; clear() "
                "starts another recording"
            )
        global_from_lidar = checked_pose(pose) @ self._lidar_to_ego
        kept = np.zeros((len(points), 5), np.float32)
        kept[:, :4] = points[:, :4]
        self._clouds.append((kept, float(stamp_s), global_from_lidar))

    def cloud(self) -> np.ndarray:
        """The accumulated cloud.

        Returns:
            (N, 5) float32 x, y, z in m in the newest sweep's sensor frame, intensity, time lag in
            s. The newest sweep's points come first.

        Raises:
            ValueError: if nothing was pushed.
        """
        if not self._clouds:
            raise ValueError("SweepBuffer.cloud: expected a cloud pushed before, got none")
        newest, stamp_s, global_from_newest = self._clouds[-1]
        newest_from_global = rigid_inverse(global_from_newest)
        past = [
            PastSweep(points, newest_from_global @ pose, stamp_s - taken_s)
            for points, taken_s, pose in list(self._clouds)[-1 - self.stride :: -self.stride]
            if self.max_lag_s is None or stamp_s - taken_s <= self.max_lag_s
        ]
        return accumulate_sweeps(
            newest,
            past,
            num_sweeps=self.num_sweeps,
            close_radius_m=self.close_radius_m,
            pad=self.pad,
        )
