"""A folder of clouds and labels as frames, and which of them train and which validate.

::

    clouds/RECORDING/FRAME.pcd      any format of padre3d.io; without RECORDING all are one
    labels.csv, labels.json         one file for all, column or key ``frame`` = RECORDING/FRAME
    labels/RECORDING/FRAME.csv      or one a frame
    poses.csv                       optional: file,stamp[,x,y,z,qw,qx,qy,qz], file = RECORDING/FRAME
    split.json                      optional: {"train": [...], "val": [...]} of recordings or frames
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from padre3d.data.frames import Frame, Label, read_labels
from padre3d.data.text_files import read_csv, read_json, read_text
from padre3d.io.load import SUFFIXES
from padre3d.io.poses import COLUMNS, pose_matrix, seconds

CLOUDS = "clouds"
SPLITS = ("train", "val")


def folder_frames(root: Path) -> list[Frame]:
    """The frames of a folder, ordered by recording, time and name.

    Raises:
        FileNotFoundError: if there are no clouds or no labels.
        ValueError: if labels or poses are malformed, or name a frame without a cloud.
    """
    clouds = root / CLOUDS
    paths = sorted(p for p in clouds.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"expected {', '.join(SUFFIXES)} files in {clouds}, found none")
    by_name: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(clouds).with_suffix("").as_posix()
        if name in by_name:
            raise ValueError(f"expected clouds of different names, got {by_name[name]} and {path}")
        by_name[name] = path
    labels = _labels(root, list(by_name))
    stamps = _stamps(root / "poses.csv", list(by_name))
    frames = []
    for name, path in by_name.items():
        found = labels.get(name)
        stamp, pose = stamps.get(name, (None, None))
        recording = name.rpartition("/")[0] or root.resolve().name
        frames.append(
            Frame(name, path, recording, None if found is None else tuple(found), stamp, pose)
        )
    return sorted(frames, key=lambda f: (f.recording, f.stamp_s or 0.0, f.name))


def _labels(root: Path, names: Sequence[str]) -> dict[str, list[Label]]:
    files = [root / "labels.csv", root / "labels.json"]
    single = [path for path in files if path.is_file()]
    folder = root / "labels"
    several = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in (".csv", ".json")]
    if len(single) + bool(several) != 1:
        found = ", ".join(map(str, [*single, *([folder] if several else [])])) or "none"
        raise FileNotFoundError(
            f"expected labels.csv, labels.json or a folder labels/ in {root}, found {found}"
        )
    labels: dict[str, list[Label]] = {}
    if single:
        labels = read_labels(single[0])
    for path in several:
        frame = path.relative_to(folder).with_suffix("").as_posix()
        labels.update(read_labels(path, frame))
    _check_known(labels, names, single[0] if single else folder)
    return labels


def _check_known(found: Mapping, names: Sequence[str], where: Path) -> None:
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"{where}: expected frames that have a cloud, such as {names[0]}, got {unknown[0]} "
            f"({len(unknown)} of {len(found)} have none)"
        )


def _stamps(path: Path, names: Sequence[str]) -> dict[str, tuple[float, np.ndarray | None]]:
    """Stamp and pose of every frame; empty without the file."""
    if not path.is_file():
        return {}
    found: dict[str, tuple[float, np.ndarray | None]] = {}
    for number, row in read_csv(path, "poses"):
        try:
            name = Path(row["file"])
            numbers = [row.get(key) for key in COLUMNS[1:]]
            pose = None
            if any(numbers):
                values = [float(v or "nan") for v in numbers]
                pose = pose_matrix(values[:3], values[3:])
            stamp = seconds(row["stamp"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}: expected file,stamp[,x,y,z,qw,qx,qy,qz]: {error}"
            ) from error
        key = name.with_suffix("").as_posix() if name.suffix.lower() in SUFFIXES else str(name)
        if key in found:
            raise ValueError(f"{path}, line {number}: expected every frame once, got {key} again")
        found[key] = (stamp, pose)
    _check_known(found, names, path)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path}: expected every cloud, missing {missing[0]} and others")
    return found


def read_split(root: Path, given: Path | None) -> dict[str, list[str]] | None:
    """Names of a split file: ``--split``, ``split.json``, ``ImageSets/train.txt`` and ``val.txt``.

    Raises:
        ValueError: if the file has no lists ``train`` and ``val``.
    """
    path = given or root / "split.json"
    if path.is_file():
        content = read_json(path, "a split")
        lists = [content.get(split) for split in SPLITS] if isinstance(content, dict) else [None]
        if not all(isinstance(names, list) for names in lists):
            raise ValueError(f"{path}: expected lists train and val, got {content!r:.80}")
        return {split: [str(name) for name in content[split]] for split in SPLITS}
    if given:
        raise FileNotFoundError(f"split file not found: {given}")
    sets = {split: root / "ImageSets" / f"{split}.txt" for split in SPLITS}
    if not all(path.is_file() for path in sets.values()):
        return None
    return {split: read_text(path, "names of frames").split() for split, path in sets.items()}


def split_frames(
    frames: Sequence[Frame],
    named: Mapping[str, Sequence[str]] | None,
    val_share: float = 0.2,
    seed: int = 0,
) -> dict[str, list[Frame]]:
    """Annotated frames of ``train`` and ``val``.

    Args:
        frames: all frames.
        named: split -> recordings or frames; None: whole recordings are drawn, and of a single
            recording the last frames validate, because neighbouring frames look alike.
        val_share: of the recordings (frames), at least one.
        seed: of the draw.

    Raises:
        ValueError: if a split is empty, or a name is unknown or in both.
    """
    annotated = [frame for frame in frames if frame.labels is not None]
    named = _drawn(annotated, val_share, seed) if named is None else named
    known = {frame.name for frame in frames} | {frame.recording for frame in frames}
    unknown = sorted({*named["train"], *named["val"]} - known)
    if unknown:
        raise ValueError(f"split: expected recordings or frames, got unknown {unknown[:3]}")
    split = {
        name: [f for f in annotated if f.name in wanted or f.recording in wanted]
        for name, wanted in ((name, set(named[name])) for name in SPLITS)
    }
    both = {f.name for f in split["train"]} & {f.name for f in split["val"]}
    if both:
        raise ValueError(f"split: expected a frame in one list, got {sorted(both)[0]} in both")
    for name, chosen in split.items():
        if not chosen:
            raise ValueError(f"split: expected annotated frames in {name}, got none")
    return split


def _drawn(annotated: Sequence[Frame], share: float, seed: int) -> dict[str, list[str]]:
    recordings = sorted({frame.recording for frame in annotated})
    if len(recordings) == 1:
        names = [frame.name for frame in annotated]
    else:
        names = [recordings[i] for i in np.random.default_rng(seed).permutation(len(recordings))]
    count = max(1, round(share * len(names)))
    return {"train": names[:-count], "val": names[-count:]}


def past_frames(frames: Sequence[Frame], max_sweeps: int) -> dict[str, list[Frame]]:
    """Past frames of each, nearest in time first; none without stamps and poses.

    Raises:
        ValueError: if two frames of a recording have one stamp.
    """
    past: dict[str, list[Frame]] = {}
    before: list[Frame] = []
    for frame in frames:
        if before and before[-1].recording != frame.recording:
            before = []
        if before and frame.stamp_s is not None and before[-1].stamp_s == frame.stamp_s:
            raise ValueError(f"expected different stamps, got {frame.stamp_s} s at {frame.name}")
        moving = frame.stamp_s is not None and frame.pose is not None
        past[frame.name] = before[::-1][:max_sweeps] if moving else []
        before = [*before, replace(frame)] if moving else []
    return past
