"""Frames of one's own -> converted clouds, infos and ground-truth database, as of nuScenes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from padre3d.data.boxes import points_in_boxes
from padre3d.data.folder import past_frames, read_split, split_frames
from padre3d.data.frames import (
    Frame,
    in_model_frame,
    odd_yaws,
    with_velocities,
    without_bad_boxes,
)
from padre3d.data.gt_database import write_database
from padre3d.data.point_files import write_pickle
from padre3d.data.settings import check_settings
from padre3d.io.cloud import drop_unusable
from padre3d.io.files import write_atomic
from padre3d.io.frames import InputFrame
from padre3d.io.load import read_cloud
from padre3d.io.lock import lock
from padre3d.io.options import ReadOptions
from padre3d.io.poses import rigid_inverse
from padre3d.io.staging import move_together, staging

KEY_FOLDER, SWEEP_FOLDER = "samples/LIDAR_TOP", "sweeps/LIDAR_TOP"
COLUMNS = 5
SINGLE = "no stamps with poses: every cloud stays a single sweep"


@dataclass(frozen=True)
class Prepared:
    """What was made of a folder.

    Attributes:
        written: files and folders.
        classes: by falling number of boxes.
        num_sweeps: sweeps in a cloud, the key frame included.
        notes: what a user should know, a line each.
    """

    written: list[Path]
    classes: tuple[str, ...]
    num_sweeps: int
    notes: list[str]


def prepare_frames(
    frames: Sequence[Frame],
    root: Path,
    *,
    out: Path,
    axes: InputFrame,
    options: Mapping[str, ReadOptions],
    tag: str = "nuscenes",
    classes: Sequence[str] | None = None,
    max_sweeps: int = 10,
    split_file: Path | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    workers: int = 1,
    also: Callable[[Path, tuple[str, ...], int], None] | None = None,
) -> Prepared:
    """Convert clouds and write infos and database: all of it, or nothing after an error.

    Args:
        frames: ordered by recording and time.
        root: where a split file may lie.
        out: data root of the result.
        axes: how the clouds' frame lies; result and boxes are in the model's.
        options: how to read files, by suffix.
        tag: first word of the file names.
        classes: which names count, in label order; default: all.
        max_sweeps: past frames listed per frame, if there are stamps and poses; cloud and database
            have at most so many sweeps, the key frame included.
        split_file, val_share, seed: see :func:`padre3d.data.folder.split_frames`.
        workers: processes that cut the database.
        also: writes what else belongs into the folder; gets it, classes and number of sweeps.

    Raises:
        FileNotFoundError, ValueError: if something is missing or malformed; names the file.
        LockedError: if another process prepares the same files.
    """
    check_settings(tag, max_sweeps, workers)
    frames, notes = without_bad_boxes(frames)
    notes = [*odd_yaws(frames), *(f"dropped box: {note}" for note in notes)]
    frames = with_velocities([in_model_frame(frame, axes) for frame in frames])
    split = split_frames(frames, read_split(root, split_file), val_share, seed)
    names, past = _class_names(frames, classes), past_frames(frames, max_sweeps)
    keys = {frame.name: frame for chosen in split.values() for frame in chosen}
    needed = {f.name: f for key in keys.values() for f in (*past[key.name], key)}
    _check_file_names(needed.values())
    longest = max(len(past[name]) for name in keys)
    sweeps = max(1, min(1 + longest, max_sweeps))
    with (
        lock(out / f".{tag}.lock", f"another create_data is at work in {out}"),
        staging(out / tag) as staged,
    ):
        notes += _convert_all(needed.values(), keys, staged, axes, options, sweeps == 1)
        infos = _infos(split, past, keys, names, staged, sweeps == 1)
        _write(infos, staged, tag, names, sweeps, workers)
        if also is not None:
            also(staged, names, sweeps)
        written = move_together(staged, out, merged=("samples", "sweeps"))
    notes += [f"{name}: {len(of)} frames of {_counted(of)}" for name, of in split.items()]
    notes += [SINGLE] if max_sweeps and not longest else []
    return Prepared(written, names, sweeps, _short(notes))


def _convert_all(
    frames: Iterable[Frame],
    key_names: Collection[str],
    staged: Path,
    axes: InputFrame,
    options: Mapping[str, ReadOptions],
    keep_lags: bool,
) -> list[str]:
    """Write the clouds of key frames and sweeps; what there is to say of them."""
    notes = []
    for frame in track(list(frames), "clouds"):
        folder = staged / (KEY_FOLDER if frame.name in key_names else SWEEP_FOLDER)
        notes += _convert(frame, folder / frame.file_name, axes, options, keep_lags)
    return notes


def _write(
    infos: Mapping[str, list[dict]],
    folder: Path,
    tag: str,
    names: tuple[str, ...],
    num_sweeps: int,
    workers: int,
) -> None:
    """Infos of all splits and the database of the training's, beside the clouds."""
    for split, rows in infos.items():
        content = {"metainfo": _metainfo(names), "data_list": rows}
        write_pickle(folder / f"{tag}_infos_{split}.pkl", content)
    write_database(
        infos["train"],
        folder,
        folder,
        tag=tag,
        classes=names,
        num_sweeps=num_sweeps,
        workers=workers,
    )


def _check_file_names(frames: Iterable[Frame]) -> None:
    """Raise ValueError where the clouds of two frames would be one file."""
    taken: dict[str, str] = {}
    for frame in frames:
        other = taken.setdefault(frame.file_name, frame.name)
        if other != frame.name:
            raise ValueError(
                f"frames: expected names that differ with __ for /, got {other} and {frame.name}"
            )


def _class_names(frames: Sequence[Frame], wanted: Sequence[str] | None) -> tuple[str, ...]:
    counts = Counter(label.name for frame in frames for label in frame.labels or ())
    if not counts:
        raise ValueError("labels: expected boxes, got none")
    if wanted is None:
        return tuple(sorted(counts, key=lambda name: (-counts[name], name)))
    unknown = [name for name in wanted if name not in counts]
    if unknown:
        raise ValueError(f"--classes: expected names among {sorted(counts)}, got {unknown}")
    return tuple(wanted)


def _convert(
    frame: Frame,
    path: Path,
    axes: InputFrame,
    options: Mapping[str, ReadOptions],
    keep_lags: bool,
) -> list[str]:
    """Write a cloud as five float32 columns; returns what there is to say.

    A detection reads the time lags of a single cloud, so it trains with them; sweeps that are
    joined have one lag each.
    """
    cloud = read_cloud(frame.path, options.get(frame.path.suffix.lower()))
    points, dropped = drop_unusable(cloud.points)
    if not len(points):
        raise ValueError(f"{frame.path}: expected points, got none that count")
    if frame.visible is not None:
        points = points[frame.visible(points)]
    moved = np.array(axes.to_model(points), np.float32)
    if not keep_lags:
        moved[:, 4] = 0
    write_atomic(path, moved.tobytes())
    said = [f"clouds: {warning}" for warning in cloud.warnings]
    if moved[:, 4].any():
        said.append(f"clouds: {cloud.time.source} kept as time lags in s (--no-time-lag: none)")
    return [*said, f"clouds: {dropped.total} points dropped"] if dropped.total else said


def _infos(
    split: Mapping[str, Sequence[Frame]],
    past: Mapping[str, Sequence[Frame]],
    key_names: Collection[str],
    classes: tuple[str, ...],
    out: Path,
    keep_lags: bool,
) -> dict[str, list[dict]]:
    return {
        name: [
            _info(frame, i, past[frame.name], key_names, classes, out, keep_lags)
            for i, frame in enumerate(track(chosen, f"infos {name}"))
        ]
        for name, chosen in split.items()
    }


def _info(
    frame: Frame,
    index: int,
    past: Sequence[Frame],
    key_names: Collection[str],
    classes: tuple[str, ...],
    out: Path,
    keep_lags: bool,
) -> dict:
    pose = np.eye(4) if frame.pose is None else frame.pose
    info = {
        "sample_idx": index,
        "token": frame.file_name.removesuffix(".bin"),
        "timestamp": float(index) if frame.stamp_s is None else frame.stamp_s,
        "ego2global": pose.tolist(),
        "lidar_points": {
            "num_pts_feats": COLUMNS,
            "lidar_path": frame.file_name,
            "lidar2ego": np.eye(4).tolist(),
            "time_lag": keep_lags,
        },
        "images": {},
        "instances": _instances(frame, out / KEY_FOLDER / frame.file_name, classes),
    }
    if past:
        info["lidar_sweeps"] = [
            _sweep(sweep, pose, KEY_FOLDER if sweep.name in key_names else SWEEP_FOLDER)
            for sweep in past
        ]
    return info


def _sweep(frame: Frame, key_pose: np.ndarray, folder: str) -> dict:
    pose = np.asarray(frame.pose)
    return {
        "timestamp": frame.stamp_s,
        "sample_data_token": frame.name,
        "ego2global": pose.tolist(),
        "lidar_points": {
            "lidar_path": f"{folder}/{frame.file_name}",
            "lidar2ego": np.eye(4).tolist(),
            "lidar2sensor": (rigid_inverse(pose) @ key_pose).tolist(),
        },
    }


def _instances(frame: Frame, cloud: Path, classes: tuple[str, ...]) -> list[dict]:
    labels = frame.labels or ()
    boxes = np.array([label.box for label in labels]).reshape(-1, 9)
    boxes[:, 2] -= boxes[:, 5] / 2
    points = np.fromfile(cloud, np.float32).reshape(-1, COLUMNS)
    counts = [len(inside) for inside in points_in_boxes(points, boxes)]
    instances = []
    for label, count in zip(labels, counts, strict=True):
        number = classes.index(label.name) if label.name in classes else -1
        instances.append(
            {
                "bbox_label": number,
                "bbox_label_3d": number,
                "bbox_3d": [float(v) for v in label.box[:7]],
                "bbox_3d_isvalid": count > 0,
                "velocity": [float(v) for v in label.box[7:9]],
                "num_lidar_pts": count,
                "num_radar_pts": 0,
            }
        )
    return instances


def _metainfo(classes: tuple[str, ...]) -> dict:
    return {
        "categories": {name: label for label, name in enumerate(classes)},
        "dataset": "folder",
        "version": "folder",
        "info_version": "1.1",
    }


def _counted(frames: Sequence[Frame]) -> str:
    counts = Counter(label.name for frame in frames for label in frame.labels or ())
    recordings = len({frame.recording for frame in frames})
    boxes = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"{recordings} recording{'s' * (recordings > 1)}, {boxes or 'no box'}"


def _short(notes: Sequence[str], most: int = 10) -> list[str]:
    """Every note once, with how often it came; of many different ones the first."""
    counts = Counter(notes)
    lines = [f"{note} ({count} times)" if count > 1 else note for note, count in counts.items()]
    extra = len(lines) - most
    ends = [line for line in lines if line.startswith(("train:", "val:", "no stamps"))]
    others = [line for line in lines if line not in ends]
    more = [f"... and {extra} more notes"] if len(others) > most else []
    return [*others[:most], *more, *ends]
