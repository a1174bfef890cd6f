"""Open a nuScenes directory, and find out what is wrong with it before any long work."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from nuscenes import NuScenes
from nuscenes.utils.splits import create_splits_scenes

from padre3d.data.lidar_tables import LIDAR_CHANNEL, UNIT_TOLERANCE, LidarTables, check_tokens
from padre3d.data.point_files import read_points

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
_MALFORMED = (
    *(LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError),
)


def open_nuscenes(root: Path, version: str) -> LidarTables:
    """Load the tables with the official devkit.

    Args:
        root: data set directory, which holds the table folder ``version`` and the point files.
        version: one of :data:`SPLITS`, or any with a ``splits.json`` beside its tables.

    Raises:
        FileNotFoundError: if the directory, the table folder, a table or a map image is missing.
        ValueError: if the version is unknown, a table is not valid JSON, or a token is there twice.
    """
    if version not in SPLITS and not splits_file(root, version).is_file():
        raise ValueError(
            f"expected a version among {sorted(SPLITS)}, or {splits_file(root, version)}, "
            f"got {version!r}"
        )
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
        nusc = LidarTables(version=version, dataroot=str(root), verbose=False)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"a table in {folder} is not valid JSON: {error}") from error
    except (OSError, *_MALFORMED):
        raise
    # The devkit has bare Exceptions for tables of other kinds.
    except Exception as error:
        raise ValueError(f"{folder}: expected nuScenes tables, got: {error}") from error
    check_tokens(nusc)
    return nusc


def splits_file(root: Path, version: str) -> Path:
    """The devkit's place for splits of one's own: split -> names of scenes."""
    return root / version / "splits.json"


def scenes_of_splits(root: Path, version: str) -> dict[str, list[str]]:
    """Names of the scenes of ``train`` and ``val`` (or ``test``).

    A ``splits.json`` wins; its splits may have other names, of which one holds the word train and
    one val.

    Raises:
        ValueError: if that file has no such lists.
    """
    path = splits_file(root, version)
    if not path.is_file():
        official = create_splits_scenes()
        return {split: official[name] for split, name in SPLITS[version].items()}
    content = json.loads(path.read_text())
    scenes = {}
    for split in ("train", "val"):
        names = [name for name in content if name == split] or [n for n in content if split in n]
        if len(names) != 1 or not isinstance(content[names[0]], list):
            raise ValueError(f"{path}: expected a list of scenes for {split}, got {list(content)}")
        scenes[split] = content[names[0]]
    return scenes


def _check_maps(root: Path, table: Path) -> None:
    try:
        images = [row["filename"] for row in json.loads(table.read_text())]
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{table} is not valid JSON: {error}") from error
    missing = [name for name in images if not os.path.isfile(os.path.join(root, name))]
    if missing:
        raise FileNotFoundError(f"expected the map images that {table} names, missing {missing}")


def samples_of_splits(nusc: NuScenes) -> dict[str, list[dict]]:
    """The sample records of every split of this version, in the order of the table.

    Returns:
        ``{"train": [...], "val": [...]}``, or ``{"test": [...]}`` for ``v1.0-test``.

    Raises:
        ValueError: if a split has no sample, or a sample has no LiDAR key frame.
    """
    scene_names = scenes_of_splits(Path(nusc.dataroot), nusc.version)
    name_of_scene = {scene["token"]: scene["name"] for scene in nusc.scene}
    samples = {}
    for split, names in scene_names.items():
        wanted = set(names)
        samples[split] = [s for s in nusc.sample if name_of_scene[s["scene_token"]] in wanted]
        if not samples[split]:
            raise ValueError(
                f"split {split} of {nusc.version} is empty: expected scenes such as "
                f"{names[:3]}, found {sorted(name_of_scene.values())[:5]} "
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


def point_files_of(nusc: NuScenes, samples: Iterable[dict], max_sweeps: int) -> list[str]:
    """The point files that the samples and their past sweeps need, each once."""
    names: dict[str, None] = {}
    for sample in samples:
        key = nusc.get("sample_data", sample["data"][LIDAR_CHANNEL])
        for record in [key, *past_sweeps(nusc, sample, max_sweeps)]:
            names[record["filename"]] = None
    return list(names)


def check_point_files(
    root: str | Path,
    names: Sequence[str],
    columns: int = 5,
    workers: int = 1,
    on_file: Callable[[], None] = lambda: None,
) -> None:
    """Read every point file once: it is there, whole, not empty, and has finite values.

    A file that was cut off at the end of a row cannot be told from a small cloud; files with less
    than half of the usual number of points are warned of.

    Args:
        root: data set directory.
        names: files in it.
        columns: float32 columns of the files.
        workers: processes that read.
        on_file: called after every file.

    Raises:
        FileNotFoundError: naming the number of missing files and the first of them.
        ValueError: naming a file that is empty, cut off, or holds NaN or infinity.
    """
    missing = [name for name in names if not os.path.isfile(os.path.join(root, name))]
    if missing:
        raise FileNotFoundError(
            f"expected {len(names)} LiDAR files in {root}, missing {len(missing)}: {_few(missing)}"
            + ("; --max-sweeps 0 needs key frames only" if _are_sweeps(missing) else "")
        )
    paths = [os.path.join(root, name) for name in names]
    counts = []
    for count in _count_all(paths, columns, workers):
        counts.append(count)
        on_file()
    usual = float(np.median(counts)) if counts else 0.0
    small = [name for name, count in zip(names, counts, strict=True) if count < usual / 2]
    if small:
        warnings.warn(
            f"{len(small)} of {len(names)} point files have less than half of the usual "
            f"{usual:.0f} points, cut off? {_few(small)}",
            stacklevel=2,
        )


def check_poses(nusc: NuScenes) -> None:
    """Raise ValueError naming the first pose or calibration that is none."""
    for table in ("ego_pose", "calibrated_sensor"):
        for row in getattr(nusc, table):
            rotation, translation = (
                np.asarray(row[key], np.float64) for key in ("rotation", "translation")
            )
            shapes = rotation.shape == (4,) and translation.shape == (3,)
            if not shapes or not np.isfinite([*rotation, *translation]).all():
                raise ValueError(
                    f"{table} {row['token']}: expected a finite rotation of 4 numbers and "
                    f"translation of 3, got {row['rotation']} and {row['translation']}"
                )
            if abs(np.linalg.norm(rotation) - 1) > UNIT_TOLERANCE:
                raise ValueError(
                    f"{table} {row['token']}: expected a quaternion of length 1, "
                    f"got {row['rotation']}"
                )


@contextlib.contextmanager
def naming_tables(folder: Path) -> Iterator[None]:
    """Turn what malformed tables raise into a ValueError that names their folder."""
    try:
        yield
    except ValueError as error:
        if str(folder.parent) in str(error):
            raise
        raise ValueError(f"{folder}: {error}") from error
    except _MALFORMED as error:
        raise ValueError(
            f"{folder}: expected nuScenes tables, got rows that lack something or hold another "
            f"thing: {type(error).__name__}: {error}"
        ) from error


def _count_all(paths: list[str], columns: int, workers: int) -> Iterator[int]:
    count = partial(_count_points, columns=columns)
    if workers <= 1:
        yield from map(count, paths)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(count, paths, chunksize=32)


def _count_points(path: str, columns: int) -> int:
    points = len(read_points(path, columns))
    if points == 0:
        raise ValueError(f"{path}: expected points, found an empty file")
    return points


def _are_sweeps(names: list[str]) -> bool:
    return all(name.startswith("sweeps") for name in names)


def _few(names: list[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
