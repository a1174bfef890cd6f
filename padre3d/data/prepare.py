"""Prepare a nuScenes directory for training: infos of every split, then the database."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nuscenes import NuScenes
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from padre3d.data.gt_database import write_database
from padre3d.data.infos import INFO_CLASSES, frame_info, info_metainfo
from padre3d.data.lidar_tables import count_points
from padre3d.data.nuscenes_tables import (
    check_point_files,
    check_poses,
    naming_tables,
    open_nuscenes,
    point_files_of,
    samples_of_splits,
    splits_file,
)
from padre3d.data.point_files import write_pickle
from padre3d.data.settings import check_settings
from padre3d.io.lock import lock
from padre3d.io.staging import move_together, staging

MOST_NAMED = 10


def prepare_nuscenes(
    root: Path,
    version: str,
    *,
    out: Path | None = None,
    tag: str = "nuscenes",
    max_sweeps: int = 10,
    categories: dict[str, str] | None = None,
    workers: int = 1,
) -> list[Path]:
    """Write infos and the ground-truth database of a nuScenes directory.

    Args:
        root: data set directory.
        version: ``v1.0-trainval``, ``v1.0-mini`` or ``v1.0-test``, or any with a ``splits.json``.
        out: where the files go; default: ``root``.
        tag: first word of the file names.
        max_sweeps: past sweeps listed per frame, 0 for key frames alone; also the sweeps, key frame
            included, of which the database's objects consist.
        categories: annotation category -> class, for categories of one's own.
        workers: processes that cut the database.

    Returns:
        The files written.

    Raises:
        FileNotFoundError, ValueError: before anything is written, if something is missing or
            malformed.
        LockedError: if another process prepares the same files.
    """
    out = out or root
    check_settings(tag, max_sweeps, workers)
    _check_categories(categories)
    classes = tuple(dict.fromkeys(categories.values())) if categories else INFO_CLASSES
    with _progress() as progress:
        with naming_tables(root / version):
            nusc, samples = _open_and_check(root, version, max_sweeps, workers, progress)
            infos = {
                split: _split_infos(nusc, rows, split, max_sweeps, categories, classes, progress)
                for split, rows in samples.items()
            }
        own = splits_file(root, version).is_file()
        with (
            lock(out / f".{tag}.lock", f"another create_data is at work in {out}"),
            staging(out / tag) as staged,
        ):
            _write_infos(infos, staged, tag, info_metainfo(version, classes, own))
            if "train" in infos:
                task = progress.add_task("ground-truth database", total=len(infos["train"]))
                write_database(
                    infos["train"],
                    root,
                    staged,
                    tag=tag,
                    classes=classes,
                    num_sweeps=max(max_sweeps, 1),
                    workers=workers,
                    on_frame=partial(progress.advance, task),
                )
            return move_together(staged, out)


def _write_infos(
    infos: Mapping[str, list[dict]], folder: Path, tag: str, metainfo: Mapping[str, Any]
) -> None:
    """One info file for each split."""
    for split, frames in infos.items():
        content = {"metainfo": metainfo, "data_list": frames}
        write_pickle(folder / f"{tag}_infos_{split}.pkl", content)


def _check_categories(categories: dict[str, str] | None) -> None:
    """Raise ValueError for what is no object of names."""
    if categories is None:
        return
    pairs = categories.items() if isinstance(categories, dict) else ()
    if not pairs or not all(isinstance(v, str) and v for pair in pairs for v in pair):
        raise ValueError(
            f"categories: expected an object of category and class names, got {categories!r}"
        )


def _open_and_check(
    root: Path, version: str, max_sweeps: int, workers: int, progress: Progress
) -> tuple[NuScenes, dict[str, list[dict]]]:
    task = progress.add_task("tables", total=None)
    nusc = open_nuscenes(root, version)
    check_poses(nusc)
    samples = samples_of_splits(nusc)
    progress.update(task, total=1, completed=1)
    every_sample = [sample for split in samples.values() for sample in split]
    files = point_files_of(nusc, every_sample, max_sweeps)
    task = progress.add_task("point files are whole", total=len(files))
    check_point_files(
        nusc.dataroot, files, workers=workers, on_file=partial(progress.advance, task)
    )
    for line in nusc.dropped[:MOST_NAMED]:
        progress.console.print(f"dropped: {line}", soft_wrap=True)
    if len(nusc.dropped) > MOST_NAMED:
        progress.console.print(f"... and {len(nusc.dropped) - MOST_NAMED} more")
    counted = count_points(nusc, every_sample)
    if counted:
        progress.console.print(f"{counted} annotations without num_lidar_pts: points counted")
    return nusc, samples


def _split_infos(
    nusc: NuScenes,
    records: list[dict],
    split: str,
    max_sweeps: int,
    categories: dict[str, str] | None,
    classes: tuple[str, ...],
    progress: Progress,
) -> list[dict]:
    task = progress.add_task(f"infos {split}", total=len(records))
    infos = []
    for index, sample in enumerate(records):
        infos.append(
            frame_info(
                nusc,
                sample,
                index,
                max_sweeps=max_sweeps,
                with_annotations=split != "test",
                categories=categories,
                classes=classes,
            )
        )
        progress.advance(task)
    return infos


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
