"""The tree of frames that a recording's transforms (ROS tf) span over time."""

from __future__ import annotations

from array import array
from collections import defaultdict

import numpy as np

from padre3d.io.poses import PoseTable, pose_matrix

# The frame that moves without jumps; maps are corrected now and then.
CONTINUOUS_FRAME = "odom"
ROW = 8


class TransformTree:
    """Poses of frames in their parents' frames, by time; every frame has one parent."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._static: dict[str, np.ndarray] = {}
        # Rows of stamp, position and quaternion: a long recording has millions.
        self._samples: defaultdict[str, array] = defaultdict(lambda: array("d"))
        self._tables: dict[str, PoseTable] = {}

    def add(
        self,
        parent: str,
        child: str,
        position_m: list[float],
        quaternion: list[float],
        stamp_s: float | None,
    ) -> None:
        """Add the pose of ``child`` in ``parent``; a stamp of None: for ever.

        Raises:
            ValueError: if it is no pose.
        """
        child = child.lstrip("/")
        self._parents[child] = parent.lstrip("/")
        pose = pose_matrix(position_m, quaternion)
        if stamp_s is None:
            self._static[child] = pose
        else:
            self._samples[child].extend((stamp_s, *position_m, *quaternion))
            self._tables.pop(child, None)

    def chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root."""
        names = [frame.lstrip("/")]
        while names[-1] in self._parents and self._parents[names[-1]] not in names:
            names.append(self._parents[names[-1]])
        return names

    def fixed_frame(self, frame: str) -> str:
        """``odom`` if the frame hangs on it, else the root."""
        names = self.chain(frame)
        return CONTINUOUS_FRAME if CONTINUOUS_FRAME in names else names[-1]

    def pose(self, frame: str, fixed: str, stamp_s: float) -> np.ndarray:
        """(4, 4) pose of a frame in one above it at a time.

        Raises:
            ValueError: if ``fixed`` is not above it, or a transform is not known at that time.
        """
        names = self.chain(frame)
        fixed = fixed.lstrip("/")
        if fixed not in names:
            raise ValueError(
                f"expected transforms from {fixed} to {frame}, got {' <- '.join(names)} only"
            )
        pose = np.eye(4)
        for name in names[: names.index(fixed)]:
            pose = self._edge(name, stamp_s) @ pose
        return pose

    def _edge(self, child: str, stamp_s: float) -> np.ndarray:
        if child in self._static:
            return self._static[child]
        if child not in self._tables:
            self._tables[child] = _table(self._samples[child])
        try:
            return self._tables[child].at(stamp_s)
        except ValueError as error:
            raise ValueError(f"transform {self._parents[child]} <- {child}: {error}") from error


def _table(samples: array) -> PoseTable:
    """Rows by time; of those of one stamp the last counts."""
    rows = np.array(samples, np.float64).reshape(-1, ROW)[::-1]
    stamps, first = np.unique(rows[:, 0], return_index=True)
    quaternions = rows[first, 4:]
    lengths = np.linalg.norm(quaternions, axis=1, keepdims=True)
    return PoseTable(stamps, rows[first, 1:4], quaternions / lengths)
