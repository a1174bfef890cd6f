"""The frames that boxes are found in: files, files with poses, recordings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from padre3d.io import Cloud, ReadOptions, read_cloud
from padre3d.io.columns import cloud_from_fields
from padre3d.io.poses import PoseTable, seconds
from padre3d.io.recordings import RecordedCloud, read_recording
from padre3d.io.time_field import TimeInfo
from padre3d.runtime.sweep_buffer import SweepBuffer
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

    A row's ``file`` names its frame; without that column the rows are the frames in order, if there
    are as many; else the numbers at the end of the files' names are stamps.

    Raises:
        ValueError: if a frame has no pose.
    """
    if table.files:
        rows = {Path(name).name: row for row, name in enumerate(table.files)}
        names = [Path(frame.source).name for frame in frames]
        missing = [name for name in names if name not in rows]
        if missing:
            raise ValueError(f"--poses: expected a row for {missing[0]} in its column file")
        posed = [_of_row(f, table, rows[n]) for f, n in zip(frames, names, strict=True)]
    elif len(table) == len(frames):
        posed = [_of_row(frame, table, row) for row, frame in enumerate(frames)]
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
    """A frame for every message, named after the recording and the time in ns."""
    clouds = read_recording(path, topic, pose_topic=pose_topic, fixed_frame=fixed_frame)
    for cloud in clouds:
        name = f"{path.stem}_{cloud.stamp_ns}"
        read = partial(_cloud_of_message, cloud, options, name)
        yield Frame(name, name, read, name, cloud.stamp_s, cloud.pose)


def with_sweeps(cloud: Cloud, frame: Frame, buffer: SweepBuffer) -> Cloud:
    """The cloud, whose points all count, with the sweeps before it that the buffer remembers."""
    assert frame.stamp_s is not None
    assert frame.pose is not None  # frames have both where there is a buffer
    buffer.push(cloud.points, frame.stamp_s, frame.pose)
    points = buffer.cloud()
    time = TimeInfo("poses", "lag", "s", float(points[:, 4].max(initial=0)), buffer.num_sweeps)
    return replace(cloud, points=points, time=time)


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
    return replace(frame, stamp_s=stamp_s, pose=table.at(stamp_s))


def _cloud_of_message(cloud: RecordedCloud, options: ReadOptions, name: str) -> Cloud:
    try:
        return cloud_from_fields(
            cloud.fields, options, f"PointCloud2 with fields {', '.join(cloud.fields)}"
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
