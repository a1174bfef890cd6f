"""Sweeps of one recording in one cloud, and none of the recording before."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import replace

from padre3d.command.frames import Frame
from padre3d.io import Cloud
from padre3d.io.time_field import TimeInfo
from padre3d.runtime import SweepBuffer

# A LiDAR turns faster than once in so many seconds: a longer step is a pause.
LONGEST_STEP_S = 1.0
STEPS = 99


class Joiner:
    """Adds to every cloud the sweeps before it, as long as they are of one recording.

    Without ``max_lag_s`` the oldest sweep may be twice as old as it is without a missing one: twice
    the way back of the model (a step and a half more where that is one step), in steps of the
    usual length, which is the median of those seen, and at most 1 s. That follows a sensor of any
    rate, lets single clouds be missing, and no older points than that come in, for the model has
    seen none. After a longer pause, or a time before the last one, sweeps are collected anew.

    Args:
        buffer: keeps the sweeps, two or more; its ``max_lag_s`` is set here.
        max_lag_s: greatest age of a sweep in s.
    """

    def __init__(self, buffer: SweepBuffer, max_lag_s: float | None = None) -> None:
        self.buffer, self.max_lag_s = buffer, max_lag_s
        self._steps_s: deque[float] = deque(maxlen=STEPS)
        self._last_s: float | None = None

    def __call__(self, cloud: Cloud, frame: Frame) -> tuple[Cloud, str]:
        """Join a cloud, whose points all count, and those before it.

        Args:
            cloud: of the frame.
            frame: with a stamp and a pose.

        Returns:
            The cloud of all sweeps, and what there is to say of a new beginning.

        Raises:
            ValueError: if it has the stamp of the frame before.
        """
        assert frame.stamp_s is not None
        assert frame.pose is not None  # frames have both where there is a buffer
        said = self._begin_anew(frame.stamp_s)
        # A stamp that came before is refused here.
        self.buffer.push(cloud.points, frame.stamp_s, frame.pose)
        self._last_s = frame.stamp_s
        points = self.buffer.cloud()
        span_s = float(points[:, 4].max(initial=0))
        time = TimeInfo("poses", "lag", "s", span_s, self.buffer.num_sweeps)
        return replace(cloud, points=points, time=time), said

    def _begin_anew(self, stamp_s: float) -> str:
        if self._last_s is None or stamp_s == self._last_s:
            return ""
        step_s = stamp_s - self._last_s
        if step_s < 0:
            self.buffer.clear()
            return f"{-step_s:.3f} s before the last cloud: its sweeps are not joined"
        limit_s = self._limit_s(step_s)
        self.buffer.max_lag_s = limit_s
        if step_s <= limit_s:
            self._steps_s.append(step_s)
            return ""
        self.buffer.clear()
        return f"{step_s:.3f} s after the last cloud: no sweep older than {limit_s:.3g} s is joined"

    def _limit_s(self, step_s: float) -> float:
        if self.max_lag_s is not None:
            return self.max_lag_s
        if not self._steps_s and step_s > LONGEST_STEP_S:
            return LONGEST_STEP_S
        usual_s = min(statistics.median(self._steps_s or [step_s]), LONGEST_STEP_S)
        way = (self.buffer.num_sweeps - 1) * self.buffer.stride
        # With a way of one step two of them are no more than one missing cloud and some jitter.
        return usual_s * max(2 * way, way + 1.5)
