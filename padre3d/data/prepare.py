"""Prepare a nuScenes directory for training: infos of every split, then the database."""

from __future__ import annotations

from functools import partial
from pathlib import Path

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
from padre3d.data.nuscenes_tables import check_point_files, open_nuscenes, samples_of_splits
from padre3d.data.point_files import write_pickle


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
        version: ``v1.0-trainval``, ``v1.0-mini`` or ``v1.0-test``.
        out: where the files go; default: ``root``.
        tag: first word of the file names.
        max_sweeps: past sweeps listed per frame; also the sweeps, key frame included, of which the
            database's objects consist.
        categories: annotation category -> class, for categories of one's own.
        workers: processes that cut the database.

    Returns:
        The files written.

    Raises:
        FileNotFoundError, ValueError: before any work, if something is missing or malformed.
    """
    out = out or root
    if max_sweeps < 1:
        raise ValueError(f"expected max_sweeps >= 1, got {max_sweeps}")
    classes = tuple(dict.fromkeys(categories.values())) if categories else INFO_CLASSES
    written = []
    with _progress() as progress:
        nusc, samples = _open_and_check(root, version, max_sweeps, progress)
        out.mkdir(parents=True, exist_ok=True)
        for split, records in samples.items():
            infos = _split_infos(nusc, records, split, max_sweeps, categories, classes, progress)
            path = out / f"{tag}_infos_{split}.pkl"
            write_pickle(path, {"metainfo": info_metainfo(version, classes), "data_list": infos})
            written.append(path)
            if split == "train":
                task = progress.add_task("ground-truth database", total=len(infos))
                write_database(
                    infos,
                    root,
                    out,
                    tag=tag,
                    classes=classes,
                    num_sweeps=max_sweeps,
                    workers=workers,
                    on_frame=partial(progress.advance, task),
                )
                written += [out / f"{tag}_gt_database", out / f"{tag}_dbinfos_train.pkl"]
    return written


def _open_and_check(
    root: Path, version: str, max_sweeps: int, progress: Progress
) -> tuple[NuScenes, dict[str, list[dict]]]:
    task = progress.add_task("tables", total=None)
    nusc = open_nuscenes(root, version)
    samples = samples_of_splits(nusc)
    progress.update(task, total=1, completed=1)
    every_sample = [sample for split in samples.values() for sample in split]
    task = progress.add_task("point files are there", total=len(every_sample))
    check_point_files(nusc, every_sample, max_sweeps, on_sample=lambda: progress.advance(task))
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
