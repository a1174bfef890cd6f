"""Ground-truth database: the points of every annotated object, for pasting into other frames.

The points are cut from the cloud of all sweeps, with their time lags, and stored relative to the
bottom centre of the box. Entries are mmdet3d's: ``box3d_lidar`` is
``(x, y, z_bottom, length, width, height, yaw, vx, vy)`` in the LiDAR frame of the object's frame.
An unknown velocity is NaN, where mmdet3d has 0.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from padre3d.data.boxes import points_in_boxes
from padre3d.data.point_files import read_points, write_pickle
from padre3d.data.sweeps import keeps_lags, load_cloud, sweeps_of_info


def frame_objects(
    info: dict, root: Path, classes: tuple[str, ...], num_sweeps: int = 10
) -> Iterator[tuple[dict, np.ndarray]]:
    """Cut the objects out of one frame.

    Args:
        info: the frame's info, with paths as in the info file.
        root: data set directory.
        classes: class names in the order of the info file's labels.
        num_sweeps: sweeps in the cloud, the key frame included.

    Yields:
        A database entry without ``path``, and its points (N, 5) relative to the bottom centre.
        ``num_points_in_gt`` is the info's count in the key frame, ``num_points_in_sweeps`` counts
        all sweeps.
    """
    key_path = root / "samples" / "LIDAR_TOP" / info["lidar_points"]["lidar_path"]
    if keeps_lags(info):
        points = read_points(str(key_path), 5)
    else:
        sweeps = sweeps_of_info(info, str(root))
        points = load_cloud(str(key_path), sweeps, num_sweeps=num_sweeps)
    instances = [
        (number, instance, _box(instance))
        for number, instance in enumerate(info["instances"])
        if instance["bbox_label_3d"] >= 0 and instance["bbox_3d_isvalid"]
    ]
    members = points_in_boxes(points, np.array([box for _, _, box in instances]))
    for (number, instance, box), indices in zip(instances, members, strict=True):
        inside = points[indices]
        entry = {
            "name": classes[instance["bbox_label_3d"]],
            "image_idx": info["sample_idx"],
            "gt_idx": number,
            "box3d_lidar": box.astype(np.float32),
            "num_points_in_gt": instance["num_lidar_pts"],
            "num_points_in_sweeps": len(inside),
            "difficulty": 0,
        }
        inside[:, :3] -= entry["box3d_lidar"][:3]
        yield entry, inside


def _box(instance: dict) -> np.ndarray:
    """Box (9,) of an info's instance, with bottom z; an unknown velocity is NaN."""
    box = np.array([*instance["bbox_3d"], *instance["velocity"]])
    box[2] -= box[5] / 2
    return box


def _write_frame(
    info: dict, root: Path, folder: Path, name: str, classes: tuple[str, ...], num_sweeps: int
) -> list[dict]:
    entries = []
    for entry, points in frame_objects(info, root, classes, num_sweeps):
        # Classes are named by data of any origin: "car/van" is no folder.
        name_of_file = re.sub(r"[^\w.-]", "_", entry["name"])
        file = f"{info['token']}_{name_of_file}_{entry['gt_idx']}.bin"
        points.tofile(folder / file)
        entries.append(dict(entry, path=os.path.join(name, file)))
    return entries


def write_database(
    infos: list[dict],
    root: Path,
    out: Path,
    *,
    tag: str,
    classes: tuple[str, ...],
    num_sweeps: int = 10,
    workers: int = 1,
    on_frame: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Write ``{tag}_gt_database/`` and then ``{tag}_dbinfos_train.pkl`` into ``out``.

    Both appear whole or not at all; an older database is replaced.

    Args:
        infos: frames of the training split.
        root: data set directory.
        out: where the database goes.
        tag: first word of the file names.
        classes: class names in the order of the info file's labels.
        num_sweeps: sweeps in the cloud, the key frame included.
        workers: processes that cut frames.
        on_frame: called after every frame.

    Returns:
        Number of objects of every class.
    """
    name = f"{tag}_gt_database"
    part = out / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    database: dict[str, list[dict]] = {}
    try:
        for entries in _map_frames(infos, root, part, name, classes, num_sweeps, workers):
            for entry in entries:
                group = sum(map(len, database.values()))
                database.setdefault(entry["name"], []).append(dict(entry, group_id=group))
            on_frame()
        # The index goes first, so that no index ever names files of another run.
        (out / f"{tag}_dbinfos_train.pkl").unlink(missing_ok=True)
        shutil.rmtree(out / name, ignore_errors=True)
        os.replace(part, out / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    write_pickle(out / f"{tag}_dbinfos_train.pkl", database)
    return {name: len(entries) for name, entries in database.items()}


def _map_frames(
    infos: list[dict],
    root: Path,
    folder: Path,
    name: str,
    classes: tuple[str, ...],
    num_sweeps: int,
    workers: int,
) -> Iterator[list[dict]]:
    common = (root, folder, name, classes, num_sweeps)
    if workers <= 1:
        yield from (_write_frame(info, *common) for info in infos)
        return
    with ProcessPoolExecutor(workers) as pool:
        repeated = ([value] * len(infos) for value in common)
        yield from pool.map(_write_frame, infos, *repeated, chunksize=8)
