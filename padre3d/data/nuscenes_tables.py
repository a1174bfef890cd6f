"""Open a nuScenes directory, and find out what is wrong with it before any long work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes

from padre3d.data.point_files import check_point_file_size

TABLES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)
SPLITS = {
    "v1.0-trainval": {"train": "train", "val": "val"},
    "v1.0-mini": {"train": "mini_train", "val": "mini_val"},
    "v1.0-test": {"test": "test"},
}
LIDAR_CHANNEL = "LIDAR_TOP"


def open_nuscenes(root: Path, version: str) -> NuScenes:
    """Load the tables with the official devkit.

    Args:
        root: data set directory, which holds the table folder ``version`` and the point files.
        version: one of :data:`SPLITS`.

    Raises:
        FileNotFoundError: if the directory, the table folder, a table or a map image is missing.
        ValueError: if the version is unknown or a table is not valid JSON.
    """
    if version not in SPLITS:
        raise ValueError(f"expected a version among {sorted(SPLITS)}, got {version!r}")
    if not root.is_dir():
        raise FileNotFoundError(f"nuScenes directory not found: {root}")
    folder = root / version
    if not folder.is_dir():
        found = sorted(p.name for p in root.iterdir() if (p / "sample_data.json").is_file())
        raise FileNotFoundError(
            f"expected the tables of {version} in {folder}, "
            f"found {'tables of ' + ', '.join(found) if found else 'no table folder'} in {root}"
        )
    missing = [f"{name}.json" for name in TABLES if not (folder / f"{name}.json").is_file()]
    if missing:
        raise FileNotFoundError(f"expected all {len(TABLES)} tables in {folder}, missing {missing}")
    _check_maps(root, folder / "map.json")
    try:
        return NuScenes(version=version, dataroot=str(root), verbose=False)
    except json.JSONDecodeError as error:
        raise ValueError(f"a table in {folder} is not valid JSON: {error}") from error


def _check_maps(root: Path, table: Path) -> None:
    try:
        images = [row["filename"] for row in json.loads(table.read_text())]
    except json.JSONDecodeError as error:
        raise ValueError(f"{table} is not valid JSON: {error}") from error
    missing = [name for name in images if not (root / name).is_file()]
    if missing:
        raise FileNotFoundError(f"expected the map images that {table} names, missing {missing}")


def samples_of_splits(nusc: NuScenes) -> dict[str, list[dict]]:
    """The sample records of every split of this version, in the order of the table.

    Returns:
        ``{"train": [...], "val": [...]}``, or ``{"test": [...]}`` for ``v1.0-test``.

    Raises:
        ValueError: if a split has no sample, or a sample has no LiDAR key frame.
    """
    scene_names = create_splits_scenes()
    name_of_scene = {scene["token"]: scene["name"] for scene in nusc.scene}
    samples = {}
    for split, official in SPLITS[nusc.version].items():
        wanted = set(scene_names[official])
        samples[split] = [s for s in nusc.sample if name_of_scene[s["scene_token"]] in wanted]
        if not samples[split]:
            raise ValueError(
                f"split {official} of {nusc.version} is empty: expected scenes such as "
                f"{scene_names[official][:3]}, found {sorted(name_of_scene.values())[:5]} "
                f"({len(name_of_scene)} in all) in {nusc.dataroot}"
            )
        for sample in samples[split]:
            if LIDAR_CHANNEL not in sample["data"]:
                raise ValueError(
                    f"sample {sample['token']}: expected a {LIDAR_CHANNEL} key frame, "
                    f"found {sorted(sample['data'])}"
                )
    return samples


def past_sweeps(nusc: NuScenes, sample: dict, max_sweeps: int) -> list[dict]:
    """Up to ``max_sweeps`` sample_data records before a key frame, nearest in time first."""
    record = nusc.get("sample_data", sample["data"][LIDAR_CHANNEL])
    sweeps: list[dict] = []
    while record["prev"] and len(sweeps) < max_sweeps:
        record = nusc.get("sample_data", record["prev"])
        sweeps.append(record)
    return sweeps


def check_point_files(
    nusc: NuScenes,
    samples: Iterable[dict],
    max_sweeps: int,
    columns: int = 5,
    on_sample: Callable[[], None] = lambda: None,
) -> None:
    """Check that every point file that the samples need is there and whole.

    Args:
        nusc: the tables.
        samples: sample records.
        max_sweeps: past sweeps that each needs.
        columns: float32 columns of the files.
        on_sample: called after every sample.

    Raises:
        FileNotFoundError: naming the number of missing files and the first of them.
        ValueError: naming a truncated file.
    """
    seen: set[str] = set()
    missing: list[str] = []
    for sample in samples:
        key = nusc.get("sample_data", sample["data"][LIDAR_CHANNEL])
        for record in [key, *past_sweeps(nusc, sample, max_sweeps)]:
            name = record["filename"]
            if name in seen:
                continue
            seen.add(name)
            path = os.path.join(nusc.dataroot, name)
            try:
                check_point_file_size(path, os.stat(path).st_size, columns)
            except FileNotFoundError:
                missing.append(name)
        on_sample()
    if missing:
        raise FileNotFoundError(
            f"expected {len(seen)} LiDAR files in {nusc.dataroot}, missing {len(missing)}: "
            f"{', '.join(sorted(missing)[:3])}{', ...' if len(missing) > 3 else ''}"
        )
