"""Annotated frames of a prepared data set; the one module of the probe that needs mmdet3d."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

SCENE_GAP_S = 5.0


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
    """Frames as the config's test pipeline loads them, with their boxes.

    Boxes come from the info file itself: mmdet3d's own reader turns an unknown velocity into 0.
    As there, boxes without a point and boxes of other classes are left out.

    Args:
        rows: (data set, index) of each frame.
        pipeline: the config's test pipeline, which ends with ``Pack3DDetInputs``.
    """

    def __init__(
        self, rows: Sequence[tuple[Any, int]], pipeline: Sequence[Mapping[str, Any]]
    ) -> None:
        from mmengine.dataset import Compose

        self.rows, self.settings = list(rows), list(pipeline)
        self.pipeline = Compose(copy.deepcopy(self.settings))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Frame]:
        for dataset, index in self.rows:
            info = dataset.get_data_info(index)
            boxes, labels = _annotations(info, dataset.label_mapping)
            points = self.pipeline(info)["inputs"]["points"]
            points = getattr(points, "tensor", points).numpy()
            yield Frame(np.ascontiguousarray(points, np.float32), boxes, labels)

    def key(self) -> str:
        """Hash of all that the frames are made from, but for the values of the points.

        Pipeline, classes, annotations and poses of the frames, and names and sizes of their key
        frames' files. The place of the data set is not part of it.
        """
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        for dataset, index in self.rows:
            info = dataset.get_data_info(index)
            digest.update(json.dumps(dataset.metainfo["classes"]).encode())
            path = info["lidar_points"]["lidar_path"]
            boxes, labels = _annotations(info, dataset.label_mapping)
            digest.update(f"{os.path.basename(path)} {os.path.getsize(path)}".encode())
            digest.update(boxes.tobytes() + labels.tobytes())
        return digest.hexdigest()[:16]


def probe_frames(
    cfg: Mapping[str, Any], data_root: str | None = None
) -> tuple[AnnotatedFrames, AnnotatedFrames]:
    """Training and validation frames of a probe's config.

    ``train_frames`` and ``val_frames`` take that many, evenly spaced; None takes all. If the
    validation info file has fewer scenes than ``val_scenes``, the last scenes of the training info
    file make up for them; they are then not trained on.

    Args:
        cfg: the config as a dictionary: the above, train_dataset, val_dataset, test_pipeline.
        data_root: another data root than the config's.

    Raises:
        ValueError: if no scene would be left to train on.
    """
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet3d")
    train, val = (_build(cfg[f"{split}_dataset"], data_root) for split in ("train", "val"))
    train_scenes, val_scenes = scenes_of(_times(train)), scenes_of(_times(val))
    lacking = max(0, cfg["val_scenes"] - len(val_scenes))
    if lacking >= len(train_scenes):
        raise ValueError(
            f"val_scenes: expected fewer than the {len(train_scenes) + len(val_scenes)} scenes of "
            f"both info files, got {cfg['val_scenes']}"
        )
    kept = len(train_scenes) - lacking
    train_rows = [(train, i) for scene in train_scenes[:kept] for i in scene]
    val_rows = [(val, i) for scene in val_scenes for i in scene]
    val_rows += [(train, i) for scene in train_scenes[kept:] for i in scene]
    return (
        AnnotatedFrames(evenly_spaced(train_rows, cfg["train_frames"]), cfg["test_pipeline"]),
        AnnotatedFrames(evenly_spaced(val_rows, cfg["val_frames"]), cfg["test_pipeline"]),
    )


def scenes_of(times: Sequence[float]) -> list[list[int]]:
    """Indices of the frames of each scene: a new one starts after a gap of over 5 s.

    Args:
        times: time stamps in seconds, in the info file's order.
    """
    scenes: list[list[int]] = []
    for i, time in enumerate(times):
        if i == 0 or abs(time - times[i - 1]) > SCENE_GAP_S:
            scenes.append([])
        scenes[-1].append(i)
    return scenes


def evenly_spaced(items: Sequence[Any], limit: int | None) -> list[Any]:
    """At most ``limit`` items, evenly spaced, the first one included; None takes all.

    Raises:
        ValueError: if there is nothing to take.
    """
    if not items:
        raise ValueError("frames: expected at least one, the info file has none")
    if limit is not None and limit < 1:
        raise ValueError(f"number of frames: expected at least 1, got {limit}")
    take = len(items) if limit is None else min(limit, len(items))
    return [items[i * len(items) // take] for i in range(take)]


def _build(dataset: Mapping[str, Any], data_root: str | None) -> Any:
    from padre3d.plugin import DATASETS

    settings = copy.deepcopy(dict(dataset))
    # In test mode no frame is skipped for want of boxes.
    settings.update(test_mode=True, load_eval_anns=False, pipeline=[])
    if data_root is not None:
        settings["data_root"] = str(data_root)
    return DATASETS.build(settings)


def _times(dataset: Any) -> list[float]:
    return [dataset.get_data_info(i)["timestamp"] for i in range(len(dataset))]


def _annotations(
    info: Mapping[str, Any], label_mapping: Mapping[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    rows = [
        ([*i["bbox_3d"], *i["velocity"]], label_mapping[i["bbox_label_3d"]])
        for i in info["instances"]
        if i["num_lidar_pts"] > 0 and label_mapping[i["bbox_label_3d"]] >= 0
    ]
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 9)
    return boxes, np.array([label for _, label in rows], np.int64)
