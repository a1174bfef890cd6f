"""The frames that boxes are found in: files, files with poses, recordings."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from padre3d.io import Cloud, ReadOptions, read_cloud
from padre3d.io.columns import cloud_from_fields
from padre3d.io.poses import PoseTable, seconds
from padre3d.io.recordings import RecordedCloud, read_recording
from padre3d.structures.boxes import Detections

STAMP = re.compile(r"\d+(\.\d+)?$")


@dataclass(frozen=True)
class Frame:
    """One cloud to come.

    Attributes:
        name: of what is written for it.
        source: how messages name it.
        read: gives the cloud.
        token: of its nuScenes sample.
        stamp_s: when it was taken, None without poses.
        pose: (4, 4) ego vehicle to a fixed frame, None without poses.
        truth: annotated boxes in the cloud's frame, None where nobody knows them.
    """

    name: str
    source: str
    read: Callable[[], Cloud]
    token: str
    stamp_s: float | None = None
    pose: np.ndarray | None = None
    truth: Detections | None = None


def file_frames(files: Sequence[Path], options: Mapping[str, ReadOptions]) -> list[Frame]:
    """A frame for every file."""
    return [
        Frame(
            path.stem, str(path), partial(read_cloud, path, options[path.suffix.lower()]), path.stem
        )
        for path in files
    ]


def with_poses(frames: Sequence[Frame], table: PoseTable) -> list[Frame]:
    """The frames with their poses, in the order of time.

    A row's ``file`` names its frame: it is the end of the frame's path, with or without the file's
    suffix. Without that column the table's lines are the frames in order, whatever their stamps,
    if there are as many; else the numbers at the end of the files' names are stamps.

    Raises:
        ValueError: if a frame has no row or stamp, or it is not clear which. A frame whose stamp is
            outside of the table raises it when it is read.
    """
    if table.files:
        rows = _named_rows(frames, table.files)
        posed = [_of_row(frame, table, row) for frame, row in zip(frames, rows, strict=True)]
    elif len(table) == len(frames):
        lines = table.lines or range(len(table))
        posed = [_of_row(frame, table, row) for frame, row in zip(frames, lines, strict=True)]
    else:
        posed = [_of_stamp(frame, table) for frame in frames]
    return sorted(posed, key=lambda frame: frame.stamp_s or 0.0)


def recorded_frames(
    path: Path,
    options: ReadOptions,
    topic: str | None,
    pose_topic: str | None,
    fixed_frame: str | None,
) -> Iterator[Frame]:
    """A frame for every message, named after the recording and the time in ns.

    Further messages of one time, as of several sensors on one topic, are numbered from 2.
    """
    clouds = read_recording(path, topic, pose_topic=pose_topic, fixed_frame=fixed_frame)
    seen: Counter[int] = Counter()
    for cloud in clouds:
        seen[cloud.stamp_ns] += 1
        number = seen[cloud.stamp_ns]
        name = f"{path.stem}_{cloud.stamp_ns}" + (f"_{number}" if number > 1 else "")
        read = partial(_cloud_of_message, cloud, options, name)
        yield Frame(name, name, read, name, cloud.stamp_s, cloud.pose)


def _named_rows(frames: Sequence[Frame], names: Sequence[str]) -> list[int]:
    """The row of every frame by the end of its path."""
    by_last: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        by_last.setdefault(Path(name).name, []).append(row)
    rows: list[int] = []
    owners: dict[int, str] = {}
    for frame in frames:
        path = Path(os.path.abspath(frame.source))
        candidates = [*by_last.get(path.name, []), *by_last.get(path.stem, [])]
        found = [row for row in sorted({*candidates}) if _ends_with(path, Path(names[row]))]
        if len(found) != 1:
            got = " and ".join(names[row] for row in found[:2]) or "none"
            raise ValueError(
                f"--poses: expected one row for {frame.source} in its column file, whose text is "
                f"the end of that path, got {got}"
            )
        other = owners.setdefault(found[0], frame.source)
        if other != frame.source:
            raise ValueError(
                f"--poses: expected a row for one file, got {names[found[0]]} for {other} and "
                f"{frame.source}"
            )
        rows.append(found[0])
    return rows


def _ends_with(path: Path, end: Path) -> bool:
    """Whether the last parts of a path are those of another, but for its file's suffix."""
    return path.parts[-len(end.parts) : -1] == end.parts[:-1]


def _of_row(frame: Frame, table: PoseTable, row: int) -> Frame:
    token = table.tokens[row] if table.tokens else frame.token
    return replace(frame, stamp_s=float(table.stamps_s[row]), pose=table.row(row), token=token)


def _of_stamp(frame: Frame, table: PoseTable) -> Frame:
    digits = STAMP.search(frame.name.removesuffix(".pcd"))
    if digits is None:
        raise ValueError(
            f"--poses: expected a column file, as many rows as frames ({len(table)} here), or "
            f"stamps at the end of the files' names, got {frame.source}"
        )
    stamp_s = seconds(digits.group())
    try:
        return replace(frame, stamp_s=stamp_s, pose=table.at(stamp_s))
    except ValueError as error:
        fault = f"--poses: {frame.source}: {error}"
        return replace(frame, stamp_s=stamp_s, read=partial(_refuse, fault))


def _refuse(fault: str) -> Cloud:
    raise ValueError(fault)


def _cloud_of_message(cloud: RecordedCloud, options: ReadOptions, name: str) -> Cloud:
    if cloud.fault:
        raise ValueError(f"{name}: {cloud.fault}")
    try:
        return cloud_from_fields(
            cloud.fields, options, f"PointCloud2 with fields {', '.join(cloud.fields)}"
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
