"""Data sets: nuScenes infos under any class list, and class-balanced sampling of their frames."""

from __future__ import annotations

import copy
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.datasets import CBGSDataset, NuScenesDataset
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from padre3d.data.boxes import box_fault
from padre3d.data.point_files import read_pickle

_MALFORMED = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
)


class NuScenesSweepsDataset(NuScenesDataset):
    """mmdet3d's NuScenesDataset, with what its users trip over put right.

    - The version (``v1.0-mini``, ...) and the meaning of the labels come from the info file, so
      infos of any version, of mmdet3d or of one's own categories work, under any class list.
    - Every sample carries ``classes``; ``metainfo`` carries ``data_root`` and ``ann_file``.
    - ``metainfo`` has a colour for every class: nuScenes' for its classes, by name.
    - Sweep files resolve by their own folder, not by a word somewhere in the path.
    - SampleGroundTruth without a ``data_root`` gets this data set's.
    - ``sample_idx`` is the row in the info file, where the metric looks, also under ``indices``.
    - An unknown velocity stays NaN, also one of SampleGroundTruth's, so that no loss counts it.

    Args:
        metainfo: ``classes`` gives the class list and its order; default: the info file's.
        unknown_velocity: number in the place of NaN, for heads that do not know NaN: mmdet3d's own
            train with 0.
        pipeline, **kwargs: as for NuScenesDataset.

    Raises:
        FileNotFoundError: if the info file is missing.
        ValueError: if the info file lacks a class or is no info file.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        metainfo: dict | None = None,
        pipeline: list | tuple = (),
        unknown_velocity: float = math.nan,
        **kwargs: object,
    ) -> None:
        metainfo = dict(metainfo or {})
        self.unknown_velocity = unknown_velocity
        self._version_given = "version" in metainfo
        own: dict[str, Any] = type(self).METAINFO  # type: ignore[has-type, misc]
        classes = tuple(metainfo.get("classes", own["classes"]))
        # The base class looks the class list up here; the true mapping follows from the info file.
        self.METAINFO: dict[str, Any] = {**own, "classes": classes}
        metainfo["classes"] = classes
        metainfo.setdefault("palette", _palette(classes))
        super().__init__(
            data_root=data_root,
            ann_file=ann_file,
            metainfo=metainfo,
            pipeline=[_with_data_root(step, data_root) for step in pipeline],
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Load the info file: one dict per frame."""
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f"info file not found: {self.ann_file}; make it with tools/create_data.py"
            )
        infos = read_pickle(self.ann_file, "an info file")
        if not isinstance(infos, dict) or not {"metainfo", "data_list"} <= infos.keys():
            raise ValueError(
                f"{self.ann_file}: expected an mmdet3d 1.1+ info file with 'metainfo' and "
                "'data_list'; make it with tools/create_data.py"
            )
        try:
            if not len(infos["data_list"]):
                raise ValueError(f"{self.ann_file}: expected frames, got none")
            self._adopt(infos["metainfo"])
            _drop_bad_boxes(infos["data_list"], self.ann_file)
            rows = enumerate(infos["data_list"])
            return [self.parse_data_info({**info, "row": row}) for row, info in rows]
        except _MALFORMED as error:
            if str(self.ann_file) in str(error):
                raise
            raise ValueError(
                f"{self.ann_file}: expected frames as tools/create_data.py writes them, got "
                f"{type(error).__name__}: {error}"
            ) from error

    def _adopt(self, info_meta: dict) -> None:
        categories = info_categories(info_meta, self.ann_file)
        classes = self._metainfo["classes"]
        unknown = [name for name in classes if categories.get(name, -1) < 0]
        if unknown:
            known = [name for name, label in categories.items() if label >= 0]
            raise ValueError(
                f"{self.ann_file}: expected classes among {known}, got unknown {unknown}"
            )
        self.label_mapping.clear()
        self.label_mapping.update({label: -1 for label in categories.values()})
        self.label_mapping.update({categories[name]: i for i, name in enumerate(classes)})
        self.label_mapping[-1] = -1
        if not self._version_given:
            self._metainfo["version"] = info_meta.get("version", self._metainfo["version"])
        self._metainfo.update(data_root=self.data_root, ann_file=self.ann_file)
        self._metainfo["dataset"] = info_meta.get("dataset", "nuscenes")
        self._metainfo["own_splits"] = "splits" in info_meta

    def parse_data_info(self, info: dict) -> dict:
        """Resolve the paths of a frame's info."""
        for sweep in info.get("lidar_sweeps", []):
            path = Path(sweep["lidar_points"]["lidar_path"])
            folder = "samples" if path.parent.parent.name == "samples" else "sweeps"
            sweep["lidar_points"]["lidar_path"] = os.path.join(folder, path.name)
        return super().parse_data_info(info)

    def parse_ann_info(self, info: dict) -> dict:
        """Boxes and labels of a frame; the base class makes unknown velocities 0."""
        found = super().parse_ann_info(info)
        if self.with_velocity and "velocities" in found:
            counted = "bbox_3d_isvalid" if self.use_valid_flag else "num_lidar_pts"
            own = {key: _column(info, key) for key in (counted, "velocity")}
            unknown = ~np.isfinite(self._filter_with_mask(own)["velocity"]).all(axis=1)
            found["gt_bboxes_3d"].tensor[torch.from_numpy(unknown), 7:9] = self.unknown_velocity
        return found

    def get_data_info(self, idx: int) -> dict:
        """Info of a frame, with its row, the class list and what an unknown velocity is."""
        info = super().get_data_info(idx)
        # The base class puts the place in the subset here.
        info["sample_idx"] = info.pop("row")
        info["classes"] = self._metainfo["classes"]
        info["unknown_velocity"] = self.unknown_velocity
        return info


def _column(info: dict, key: str) -> np.ndarray:
    """A value of every instance of a frame."""
    return np.array([instance[key] for instance in info["instances"]])


def _drop_bad_boxes(infos: list[dict], path: str) -> None:
    """Leave out instances that would stop a training, and say so; ours have none."""
    dropped = []
    for info in infos:
        faults = [box_fault(instance["bbox_3d"]) for instance in info.get("instances", [])]
        if any(faults):
            found = zip(info["instances"], faults, strict=True)
            info["instances"] = [instance for instance, fault in found if fault is None]
            dropped.append(f"{info.get('token')}: {next(filter(None, faults))}")
    if dropped:
        warnings.warn(
            f"{path}: boxes dropped in {len(dropped)} frames, such as {'; '.join(dropped[:3])}",
            stacklevel=2,
        )


def info_categories(info_meta: dict, path: str) -> dict[str, int]:
    """Class -> label of an info file; older ones list the classes in the order of the labels.

    Raises:
        ValueError: if there is neither.
    """
    if "categories" in info_meta:
        return dict(info_meta["categories"])
    names = info_meta.get("classes", info_meta.get("CLASSES"))
    if names is None:
        raise ValueError(
            f"{path}: expected 'categories' or 'classes' in metainfo, got {sorted(info_meta)}"
        )
    return {name: label for label, name in enumerate(names)}


def _palette(classes: tuple[str, ...]) -> list[tuple[int, int, int]]:
    colours = NuScenesDataset.METAINFO["palette"]
    by_name = dict(zip(NuScenesDataset.METAINFO["classes"], colours, strict=True))
    return [by_name.get(name, colours[i % len(colours)]) for i, name in enumerate(classes)]


def _with_data_root(step: object, data_root: str) -> object:
    if isinstance(step, dict) and str(step.get("type")).endswith("SampleGroundTruth"):
        return dict(step, data_root=step.get("data_root") or data_root)
    return step


class SeededCBGSDataset(CBGSDataset):
    """Class-balanced grouping and sampling of frames (CBGS, arXiv 1908.09492, section 3.1).

    Every class gets the same number of frames, drawn with replacement among the frames that hold
    it; in total there are as many as (frame, class) pairs. Unlike mmdet3d's, a class that no frame
    holds is left out instead of dividing by zero, and the draw depends on ``seed`` alone, so every
    process and every resumed training sees the same list.

    Args:
        dataset: the data set or its config.
        seed: of the draw.
    """

    def __init__(self, dataset: BaseDataset | dict, seed: int = 0, lazy_init: bool = False) -> None:
        self.seed = seed
        super().__init__(
            copy.deepcopy(dataset) if isinstance(dataset, dict) else dataset, lazy_init
        )

    def _get_sample_indices(self, dataset: BaseDataset) -> list[int]:
        classes = self.metainfo["classes"]
        frames: list[list[int]] = [[] for _ in classes]
        for index in range(len(dataset)):
            for label in sorted(dataset.get_cat_ids(index)):
                if label >= 0:
                    frames[label].append(index)
        absent = [name for name, found in zip(classes, frames, strict=True) if not found]
        if len(absent) == len(classes):
            raise ValueError(f"CBGS expected frames with objects of {list(classes)}, found none")
        if absent:
            print_log(f"CBGS: no training frame holds {', '.join(absent)}", "current")
        frames = [found for found in frames if found]
        per_class = sum(map(len, frames)) // len(frames)
        rng = np.random.default_rng(self.seed)
        return [int(i) for found in frames for i in rng.choice(found, per_class)]
