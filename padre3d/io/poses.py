"""Poses of a moving frame: one as a matrix, many as a table over time.

A pose takes points of the moving frame (the sensor's, or the ego vehicle's) to a fixed frame. A
table of poses is a CSV file with a header: ``stamp,x,y,z,qw,qx,qy,qz``, in any order, and perhaps
``file`` (the point file of that row) and ``token`` (its nuScenes sample).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

COLUMNS = ("stamp", "x", "y", "z", "qw", "qx", "qy", "qz")
# Between rows further apart a pose is unknown.
MAX_GAP_S = 1.0
# Outside of the table its end holds for so long: a sensor moves 1 m in it at 10 m/s.
MAX_OUTSIDE_S = 0.1
# Stamps this large are in ms, us or ns since 1970; smaller ones in s.
STAMP_UNITS_S = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))


@dataclass(frozen=True)
class PoseTable:
    """Poses by time.

    Attributes:
        stamps_s: (K,) seconds, ascending.
        positions_m: (K, 3).
        quaternions: (K, 4) w, x, y, z, of length 1.
        files: the point file of every row, or empty.
        tokens: the nuScenes sample token of every row, or empty.
        lines: the row of every line of the file, whose order need not be that of time; empty for
            a table that no file has.
    """

    stamps_s: np.ndarray
    positions_m: np.ndarray
    quaternions: np.ndarray
    files: tuple[str, ...] = field(default=())
    tokens: tuple[str, ...] = field(default=())
    lines: tuple[int, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.stamps_s)

    def row(self, index: int) -> np.ndarray:
        """(4, 4) pose of a row."""
        return pose_matrix(self.positions_m[index], self.quaternions[index])

    def at(self, stamp_s: float) -> np.ndarray:
        """(4, 4) pose at a time: positions between two rows in proportion, rotations by slerp.

        Raises:
            ValueError: if the rows around it are more than 1 s apart, or the table ends more than
                0.1 s before it or begins more than 0.1 s after it.
        """
        after = int(np.searchsorted(self.stamps_s, stamp_s))
        before = min(max(after - 1, 0), len(self) - 1)
        after = min(after, len(self) - 1)
        if self.stamps_s[after] == stamp_s:
            return self.row(after)
        first, last = self.stamps_s[0], self.stamps_s[-1]
        if not first - MAX_OUTSIDE_S <= stamp_s <= last + MAX_OUTSIDE_S:
            raise ValueError(
                f"expected a time within {MAX_OUTSIDE_S:g} s of the poses, which are those of "
                f"{first:.3f} to {last:.3f} s, got {stamp_s:.3f} s"
            )
        step = self.stamps_s[after] - self.stamps_s[before]
        if step > MAX_GAP_S:
            raise ValueError(
                f"expected poses at most {MAX_GAP_S:g} s apart around {stamp_s:.3f} s, got "
                f"{self.stamps_s[before]:.3f} and {self.stamps_s[after]:.3f}"
            )
        share = np.clip((stamp_s - self.stamps_s[before]) / step, 0, 1) if step > 0 else 0.0
        position = (1 - share) * self.positions_m[before] + share * self.positions_m[after]
        return pose_matrix(
            position, slerp(self.quaternions[before], self.quaternions[after], float(share))
        )


def pose_matrix(
    position_m: Sequence[float] | np.ndarray, quaternion: Sequence[float] | np.ndarray
) -> np.ndarray:
    """(4, 4) pose of a position (3,) and a quaternion (4,) w, x, y, z of any length but 0.

    Raises:
        ValueError: if a number is not finite or the quaternion is 0.
    """
    position = np.asarray(position_m, np.float64)
    q = np.asarray(quaternion, np.float64)
    if position.shape != (3,) or q.shape != (4,):
        raise ValueError(f"pose: expected 3 and 4 numbers, got {position.shape} and {q.shape}")
    length = np.linalg.norm(q)
    if not (np.isfinite(position).all() and 0 < length < np.inf):
        raise ValueError(f"pose: expected finite numbers and a rotation, got {position}, {q}")
    w, x, y, z = q / length
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = position
    return pose


def slerp(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Unit quaternion (4,) a share of the shorter way from one to the other."""
    cosine = float(one @ other)
    if cosine < 0:
        other, cosine = -other, -cosine
    if cosine > 1 - 1e-9:
        mixed = (1 - share) * one + share * other
    else:
        angle = np.arccos(cosine)
        mixed = np.sin((1 - share) * angle) * one + np.sin(share * angle) * other
    return mixed / np.linalg.norm(mixed)


def checked_pose(pose: np.ndarray | Sequence[float]) -> np.ndarray:
    """A (4, 4) pose from one, or from 7 numbers x, y, z, qw, qx, qy, qz.

    Raises:
        ValueError: if it is neither, or the rotation is none.
    """
    values = np.asarray(pose, np.float64)
    if values.shape == (7,):
        return pose_matrix(values[:3], values[3:])
    if values.shape != (4, 4) or not np.isfinite(values).all():
        raise ValueError(f"pose: expected (4, 4) or 7 finite numbers, got shape {values.shape}")
    rotation = values[:3, :3]
    orthogonal = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    if not orthogonal or np.linalg.det(rotation) < 0 or not np.allclose(values[3], [0, 0, 0, 1]):
        raise ValueError(f"pose: expected a rotation and a translation, got {values.tolist()}")
    return values


def rigid_inverse(transform: np.ndarray) -> np.ndarray:
    """Inverse (4, 4) of a rotation with translation (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = transform[:3, :3].T
    inverse[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return inverse


def seconds(stamp: str | float) -> float:
    """A stamp in s; epoch stamps in ms, us or ns are told by their size."""
    value = float(stamp)
    return next((value * unit for least, unit in STAMP_UNITS_S if value >= least), value)


def read_poses(path: str | Path) -> PoseTable:
    """Read a table of poses.

    Raises:
        ValueError: if the file is missing or is no such table, or its stamps are not different.
    """
    path = Path(path)
    try:
        # Spreadsheets begin their CSV with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = [(name or "").strip() for name in reader.fieldnames or ()]
            rows = [{(k or "").strip(): v for k, v in row.items()} for row in reader]
        twice = [name for name in COLUMNS if names.count(name) > 1]
        if twice:
            raise ValueError(f"expected every column once, got {twice[0]} twice")
        return _table(rows)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a table of poses: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _table(rows: list[dict]) -> PoseTable:
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        got = ", ".join(rows[0]) if rows else "no row"
        raise ValueError(f"expected a header with {','.join(COLUMNS)} and rows, got {got}")
    short = [number for number, row in enumerate(rows, 1) if None in row.values()]
    if short:
        raise ValueError(f"expected a value for every column, got fewer in row {short[0]}")
    try:
        numbers = np.array([[float(row[name]) for name in COLUMNS[1:]] for row in rows])
        stamps = np.array([seconds(row["stamp"]) for row in rows])
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers in every row: {error}") from error
    lengths = np.linalg.norm(numbers[:, 3:], axis=1)
    if not np.isfinite(numbers).all() or not np.isfinite(stamps).all() or not lengths.all():
        raise ValueError("expected finite numbers and quaternions other than 0")
    order = np.argsort(stamps, kind="stable")
    if (np.diff(stamps[order]) <= 0).any():
        raise ValueError("expected different stamps, got one twice")
    texts = {
        name: tuple((rows[i][name] or "").strip() for i in order) if name in rows[0] else ()
        for name in ("file", "token")
    }
    return PoseTable(
        stamps[order],
        numbers[order, :3],
        numbers[order, 3:] / lengths[order, None],
        texts["file"],
        texts["token"],
        tuple(np.argsort(order).tolist()),
    )
