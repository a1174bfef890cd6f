"""Annotated frames of a prepared data set; the one module of the probe that needs mmdet3d."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Frame(NamedTuple):
    """One annotated cloud.

    Attributes:
        points: (P, 5) float32 x, y, z in metres, intensity, time lag in seconds.
        boxes: (M, 9) float32 x, y, z (gravity centre), length, width, height, yaw, vx, vy in
            metres, radians and m/s; vx and vy are NaN where the velocity is unknown.
        labels: (M,) int64 class of each box.
    """

    points: Any
    boxes: Any
    labels: Any


class AnnotatedFrames:
    """Frames of a config's data set, as its test pipeline loads them, with their boxes.

    Boxes come from the info file itself: mmdet3d's own reader turns an unknown velocity into 0.
    As there, boxes without a point and boxes of other classes are left out.

    Args:
        dataset: config of the data set; its info file is read, its own pipeline is not used.
        pipeline: the config's test pipeline, which ends with ``Pack3DDetInputs``.
        data_root: another data root than the config's.
        limit: at most so many frames, evenly spaced over the info file; None takes all.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        pipeline: list[Mapping[str, Any]],
        data_root: str | None = None,
        limit: int | None = None,
    ) -> None:
        from mmengine.dataset import Compose
        from mmengine.registry import init_default_scope

        from padre3d.plugin import DATASETS

        init_default_scope("mmdet3d")
        settings = copy.deepcopy(dict(dataset))
        settings.update(test_mode=True, load_eval_anns=False, pipeline=[])
        if data_root is not None:
            settings["data_root"] = str(data_root)
        self.dataset = DATASETS.build(settings)
        self.pipeline = Compose(copy.deepcopy(list(pipeline)))
        self.indices = evenly_spaced(len(self.dataset), limit)
        self._settings = {
            "dataset": {k: v for k, v in settings.items() if k != "data_root"},
            "pipeline": pipeline,
            "limit": limit,
        }

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Frame]:
        for index in self.indices:
            info = self.dataset.get_data_info(index)
            boxes, labels = self._annotations(info)
            points = self.pipeline(info)["inputs"]["points"]
            points = getattr(points, "tensor", points).numpy()
            yield Frame(np.ascontiguousarray(points, np.float32), boxes, labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.dataset.metainfo["classes"])

    def key(self) -> str:
        """Hash of the settings, the info file and the sizes of the key frames' point files.

        The place of the data set is not part of it.
        """
        digest = hashlib.sha256(json.dumps(self._settings, sort_keys=True, default=str).encode())
        digest.update(Path(self.dataset.ann_file).read_bytes())
        for index in self.indices:
            path = self.dataset.get_data_info(index)["lidar_points"]["lidar_path"]
            digest.update(str(os.path.getsize(path)).encode() + b" ")
        return digest.hexdigest()[:16]

    def _annotations(self, info: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        mapping = self.dataset.label_mapping
        rows = [
            ([*i["bbox_3d"], *i["velocity"]], mapping[i["bbox_label_3d"]])
            for i in info["instances"]
            if i["num_lidar_pts"] > 0 and mapping[i["bbox_label_3d"]] >= 0
        ]
        boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 9)
        return boxes, np.array([label for _, label in rows], np.int64)


def evenly_spaced(count: int, limit: int | None) -> list[int]:
    """At most ``limit`` of ``count`` indices, evenly spaced, the first one included.

    Raises:
        ValueError: if there is nothing to take.
    """
    if count < 1:
        raise ValueError("frames: expected at least one, the info file has none")
    if limit is not None and limit < 1:
        raise ValueError(f"number of frames: expected at least 1, got {limit}")
    take = count if limit is None else min(limit, count)
    return [i * count // take for i in range(take)]
