"""Frames of one's own and their annotations, before they become infos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from padre3d.data.boxes import box_fault
from padre3d.data.text_files import read_csv, read_json
from padre3d.io.frames import InputFrame
from padre3d.io.options import UNITS_M

BOX_FIELDS = ("x", "y", "z", "l", "w", "h", "yaw")
# As the devkit: a velocity over a longer time is none.
MAX_TIME_DIFF_S = 1.5


@dataclass(frozen=True)
class Label:
    """An annotated box in the frame of its cloud.

    Attributes:
        name: class.
        box: (9,) x, y, z (gravity centre), length, width, height, yaw, vx, vy in m, rad and m/s;
            an unknown velocity is NaN.
        track: identity of the object over time, empty if unknown.
    """

    name: str
    box: np.ndarray
    track: str = ""


@dataclass(frozen=True)
class Frame:
    """A cloud with what is known of it.

    Attributes:
        name: unique name, such as ``drive_3/000120``.
        path: its point file.
        recording: frames of one recording follow each other in time and are split together.
        labels: None: not annotated, of use as a past sweep only.
        stamp_s: None: unknown.
        pose: (4, 4) cloud to a fixed frame, None: unknown.
        visible: which points (P, >= 3) of the file count; None: all.
    """

    name: str
    path: Path
    recording: str
    labels: tuple[Label, ...] | None = None
    stamp_s: float | None = None
    pose: np.ndarray | None = field(default=None, compare=False)
    visible: Callable[[np.ndarray], np.ndarray] | None = field(default=None, compare=False)

    @property
    def file_name(self) -> str:
        """Name of the converted point file."""
        return self.name.replace("/", "__") + ".bin"


def read_labels(path: Path, frame: str | None = None) -> dict[str, list[Label]]:
    """Labels of a CSV or JSON file.

    Args:
        path: CSV with a header ``[frame,]name,x,y,z,l,w,h,yaw[,vx,vy][,track]``; JSON with a list
            of such objects, or frame -> list.
        frame: the frame of a file without that column.

    Returns:
        Frame -> labels. A row without a name says that the frame is annotated and has no object.

    Raises:
        ValueError: names the file, the row, what was expected and what came.
    """
    if path.suffix.lower() == ".csv":
        rows = read_csv(path, "labels")
    else:
        rows = list(enumerate(_json_rows(path), 1))
    found: dict[str, list[Label]] = {} if frame is None else {frame: []}
    for number, row in rows:
        name = str(row.get("frame") or frame or "")
        try:
            if not name:
                raise ValueError(f"expected a column frame, got {', '.join(map(str, row))}")
            labels = found.setdefault(_without_suffix(name), [])
            if row.get("name"):
                labels.append(_label(row))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
    return found


def _json_rows(path: Path) -> list[dict]:
    content = read_json(path, "labels")
    if isinstance(content, dict):
        rows = []
        for frame, found in content.items():
            if not isinstance(found, (list, type(None))):
                raise ValueError(
                    f"{path}: expected a list of objects for {frame}, got {found!r:.60}"
                )
            rows += [{**_object(row, path), "frame": frame} for row in found or [{}]]
        return rows
    if not isinstance(content, list):
        raise ValueError(
            f"{path}: expected a list of objects, or frame -> list, got {content!r:.60}"
        )
    return [_object(row, path) for row in content]


def _object(row: object, path: Path) -> dict:
    if not isinstance(row, dict):
        raise ValueError(f"{path}: expected an object with a name and a box, got {row!r:.60}")
    return row


def _label(row: Mapping[str, object]) -> Label:
    missing = [key for key in BOX_FIELDS if row.get(key) in (None, "")]
    if missing:
        raise ValueError(
            f"expected name,{','.join(BOX_FIELDS)}, missing {', '.join(missing)}, got {dict(row)}"
        )
    values = [float(row[key]) for key in BOX_FIELDS]  # type: ignore[arg-type]
    speed = [float(row.get(key) or "nan") for key in ("vx", "vy")]  # type: ignore[arg-type]
    return Label(str(row["name"]), np.array([*values, *speed]), str(row.get("track") or ""))


def _without_suffix(name: str) -> str:
    """A frame may be named by its file."""
    for suffix in (".bin", ".npy", ".pcd", ".ply"):
        name = name.removesuffix(suffix)
    return name


def without_bad_boxes(frames: Iterable[Frame]) -> tuple[list[Frame], list[str]]:
    """Leave out boxes that nobody can learn, and say which."""
    kept, dropped = [], []
    for frame in frames:
        labels = []
        for number, label in enumerate(frame.labels or ()):
            fault = box_fault(label.box)
            if fault is None:
                labels.append(label)
            else:
                dropped.append(f"{frame.name}, box {number} ({label.name}): {fault}")
        annotated = frame.labels is not None
        kept.append(replace(frame, labels=tuple(labels)) if annotated else frame)
    return kept, dropped


def odd_yaws(frames: Iterable[Frame]) -> list[str]:
    """A note if yaws are beyond a whole turn of 2 pi, as degrees are; none otherwise."""
    odd = [
        (frame.name, number, label)
        for frame in frames
        for number, label in enumerate(frame.labels or ())
        if abs(label.box[6]) > 2 * np.pi
    ]
    if not odd:
        return []
    name, number, label = odd[0]
    boxes = "1 box" if len(odd) == 1 else f"{len(odd)} boxes"
    return [
        f"yaw of {boxes} beyond 2 pi, first {label.box[6]:g} in {name}, box {number} "
        f"({label.name}): are they degrees? Radians are expected"
    ]


def in_model_frame(frame: Frame, axes: InputFrame) -> Frame:
    """The labels and the pose of a frame as those of its cloud in the model's frame."""
    labels = None
    if frame.labels is not None:
        labels = tuple(replace(label, box=_turned(label.box, axes)) for label in frame.labels)
    if frame.pose is None:
        return replace(frame, labels=labels)
    return replace(frame, labels=labels, pose=frame.pose @ _input_from_model(axes))


def _turned(box: np.ndarray, axes: InputFrame) -> np.ndarray:
    rotation = _model_from_input(axes)
    centre = rotation[:3, :3] @ (box[:3] - _origin(axes)) + rotation[:3, 3]
    velocity = rotation[:2, :2] @ box[7:9]
    return np.array([*centre, *box[3:6], box[6] + axes.turn_rad, *velocity])


def _origin(axes: InputFrame) -> np.ndarray:
    """What reading subtracts from the points, in m."""
    return np.asarray(axes.origin) * UNITS_M[axes.unit]


def _model_from_input(axes: InputFrame) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = axes.to_model(np.eye(3)).T - [[0], [0], [axes.lift_m]]
    matrix[2, 3] = axes.lift_m
    return matrix


def _input_from_model(axes: InputFrame) -> np.ndarray:
    inverse = np.linalg.inv(_model_from_input(axes))
    inverse[:3, 3] += _origin(axes)
    return inverse


def with_velocities(frames: list[Frame]) -> list[Frame]:
    """Fill unknown velocities from the tracks, as the devkit does.

    Args:
        frames: of any recordings, in order of time within each.

    Returns:
        The frames; a velocity is the way between the annotated frames before and after (or the one
        that exists) over the time, in the axes of the frame; none over more than 1.5 s a step. One
        without a pose counts for none: the way would be that relative to the sensor.
    """
    places: dict[tuple[str, str], list[tuple[float, np.ndarray, int]]] = {}
    for number, frame in enumerate(frames):
        for label in frame.labels or ():
            if label.track and frame.stamp_s is not None and frame.pose is not None:
                place = frame.pose[:3, :3] @ label.box[:3] + frame.pose[:3, 3]
                key = (frame.recording, label.track)
                places.setdefault(key, []).append((frame.stamp_s, place, number))
    return [
        replace(frame, labels=tuple(_with_velocity(label, frame, i, places) for label in labels))
        if (labels := frame.labels) is not None
        else frame
        for i, frame in enumerate(frames)
    ]


def _with_velocity(label: Label, frame: Frame, number: int, places: Mapping) -> Label:
    seen = places.get((frame.recording, label.track), []) if label.track else []
    at = next((i for i, (_, _, n) in enumerate(seen) if n == number), None)
    if at is None or frame.pose is None or np.isfinite(label.box[7:9]).all():
        return label
    first, last = seen[max(at - 1, 0)], seen[min(at + 1, len(seen) - 1)]
    steps = min(at + 1, len(seen) - 1) - max(at - 1, 0)
    seconds = last[0] - first[0]
    if seconds <= 0 or seconds > MAX_TIME_DIFF_S * steps:
        return label
    velocity = frame.pose[:3, :3].T @ ((last[1] - first[1]) / seconds)
    return replace(label, box=np.array([*label.box[:7], *velocity[:2]]))
