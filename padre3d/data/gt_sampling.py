"""Ground-truth sampling: paste objects of other frames into a training frame, and fade it out.

mmdet3d's ObjectSample cannot run with numpy 1.24 or later (it uses ``np.long``), fails on a class
that the database lacks, and its hook forgets to switch off when a training resumes late.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from padre3d.data.boxes import bev_overlaps_any, points_in_boxes
from padre3d.data.point_files import read_pickle, read_points


def load_database(info_path: Path, min_points: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Load a database: class name -> boxes (M, 9) float32 with bottom z and their files (M,).

    An unknown velocity is NaN.

    Arrays and not dicts, so that loader processes share the memory after a fork.

    Args:
        info_path: ``*_dbinfos_train.pkl``.
        min_points: objects with fewer points in all their sweeps are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no database.
    """
    if not info_path.is_file():
        raise FileNotFoundError(
            f"ground-truth database not found: {info_path}; make it with tools/create_data.py"
        )
    entries = read_pickle(info_path, "a ground-truth database")
    try:
        return dict(_tables(entries, min_points))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{info_path}: expected a ground-truth database of tools/create_data.py, got "
            f"{type(error).__name__}: {error}"
        ) from error


def _tables(
    entries: dict[str, list[dict]], min_points: int
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    for name, objects in entries.items():
        # Databases of mmdet3d count all sweeps in num_points_in_gt.
        kept = [
            o for o in objects if o.get("num_points_in_sweeps", o["num_points_in_gt"]) >= min_points
        ]
        if not kept:
            continue
        boxes = np.array([o["box3d_lidar"] for o in kept], np.float32)
        if boxes.shape != (len(kept), 9) or not np.isfinite(boxes[:, :7]).all():
            raise ValueError(f"boxes of {name} of shape {boxes.shape}, or not finite")
        yield name, (boxes, np.array([os.fsencode(o["path"]) for o in kept]))


class SampleGroundTruth(BaseTransform):
    """Paste objects from the ground-truth database where they overlap nothing.

    A class is filled up to its number in the frame. Points of the frame inside a pasted box go. An
    unknown velocity is what the data set makes of it, NaN without one.

    Args:
        sample_groups: class name -> objects of that class wanted in a frame. The names that are not
            in the data set's class list do not count.
        others: objects wanted of every class of the list that has no group.
        info_file: the database's pickle, relative to ``data_root``.
        data_root: where the database lies; the data set fills in its own root when None.
        min_points: least points of an object in all its sweeps.
        load_dim: columns of the object files.

    Raises:
        FileNotFoundError: if the database is missing.
    """

    def __init__(
        self,
        sample_groups: dict[str, int] | None = None,
        info_file: str = "nuscenes_dbinfos_train.pkl",
        data_root: str | None = None,
        min_points: int = 5,
        load_dim: int = 5,
        others: int = 0,
    ) -> None:
        self.root = Path(data_root or ".")
        self.sample_groups, self.others = dict(sample_groups or {}), others
        self.load_dim = load_dim
        self.database = load_database(self.root / info_file, min_points)
        self.disabled = False
        for name in dict.fromkeys([*self.sample_groups, *self.database]):
            count = len(self.database[name][0]) if name in self.database else 0
            print_log(f"ground-truth database: {count} objects of {name}", "current")

    def transform(self, results: dict) -> dict:
        """Extend ``points``, ``gt_bboxes_3d`` and ``gt_labels_3d``.

        Reads ``classes``, and ``unknown_velocity`` if there is one.
        """
        if self.disabled:
            return results
        boxes = results["gt_bboxes_3d"]
        present = boxes.numpy()
        labels = results["gt_labels_3d"]
        chosen = self._choose(present, labels, list(results["classes"]))
        if not chosen:
            return results
        new_boxes = np.stack([box for box, _, _ in chosen])
        unknown = ~np.isfinite(new_boxes[:, 7:9]).all(axis=1)
        new_boxes[unknown, 7:9] = results.get("unknown_velocity", np.nan)
        points = results["points"]
        pasted = torch.from_numpy(self._paste(points.tensor.numpy(), new_boxes, chosen))
        results["points"] = type(points)(pasted, points.points_dim, points.attribute_dims)
        results["gt_bboxes_3d"] = boxes.new_box(np.concatenate([present, new_boxes]))
        new_labels = np.array([label for _, _, label in chosen], dtype=np.int64)
        results["gt_labels_3d"] = np.concatenate([labels, new_labels])
        return results

    def _choose(
        self, present: np.ndarray, labels: np.ndarray, classes: list[str]
    ) -> list[tuple[np.ndarray, bytes, int]]:
        """Objects to paste, each as box (9,), file and label."""
        taken = present
        chosen = []
        unnamed = [name for name in classes if name not in self.sample_groups]
        groups = {**self.sample_groups, **dict.fromkeys(unnamed, self.others)}
        for name, wanted in groups.items():
            if name not in classes or name not in self.database:
                continue
            label = classes.index(name)
            boxes, files = self.database[name]
            missing = wanted - int((labels == label).sum())
            for i in np.unique(np.random.randint(len(boxes), size=max(missing, 0))):
                if not bev_overlaps_any(boxes[i], taken):
                    taken = np.concatenate([taken, boxes[i : i + 1]])
                    chosen.append((boxes[i], files[i], label))
        return chosen

    def _paste(self, points: np.ndarray, boxes: np.ndarray, chosen: list) -> np.ndarray:
        """Points of the chosen objects, then those of the frame that no pasted box hides."""
        keep = np.ones(len(points), dtype=bool)
        for hidden in points_in_boxes(points, boxes):
            keep[hidden] = False
        parts = []
        for box, file, _ in chosen:
            part = read_points(self.root / os.fsdecode(file), self.load_dim)
            part[:, :3] += box[:3]
            parts.append(part)
        kept = np.flatnonzero(keep)
        pasted = np.concatenate(parts)
        cloud = np.empty((len(pasted) + len(kept), points.shape[1]), np.float32)
        cloud[: len(pasted)] = pasted
        # Three times as fast as points[keep]; "clip" lets take write without a buffer of its own.
        np.take(points, kept, axis=0, out=cloud[len(pasted) :], mode="clip")
        return cloud

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sample_groups={self.sample_groups}, others={self.others})"
