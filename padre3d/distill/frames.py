"""Unlabelled frames of a detector's config: the one module of the fit that needs its data set."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor

from padre3d.data.sweeps import sweeps_of_info

_START_BYTES = 65536


class FrameClouds:
    """Clouds (P, 5) of a data set, read when they are asked for.

    Args:
        dataset: gives infos of frames.
        indices: the frames.
        pipeline: steps that load a frame and end with ``Pack3DDetInputs``.
    """

    def __init__(self, dataset: Any, indices: Sequence[int], pipeline: Sequence[Any]) -> None:
        self.dataset, self.indices = dataset, list(indices)
        self.settings = [dict(step) for step in pipeline]
        self._load = Compose(copy.deepcopy(self.settings))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> Tensor:
        """Cloud ``number`` in single precision."""
        points = self._load(self.dataset.get_data_info(self.indices[number]))["inputs"]["points"]
        return torch.as_tensor(getattr(points, "tensor", points), dtype=torch.float32)

    def key(self) -> str:
        """Hash of the pipeline and of what every frame is made of, wherever the data set lies.

        Of a file counts its place under the data set's root, its size and its first bytes; of a
        past sweep also its pose and time lag.
        """
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode())
        root = str(getattr(self.dataset, "data_root", None) or "")
        for index in self.indices:
            info = self.dataset.get_data_info(index)
            lidar = dict(info["lidar_points"])
            digest.update(_file_key(str(lidar.pop("lidar_path")), root))
            digest.update(json.dumps(lidar, sort_keys=True, default=str).encode())
            for sweep in sweeps_of_info(info):
                digest.update(_file_key(sweep.path, root))
                digest.update(np.float64(sweep.time_lag_s).tobytes())
                digest.update(np.asarray(sweep.lidar_from_sensor, np.float64).tobytes())
        return digest.hexdigest()[:16]


def _file_key(path: str, root: str) -> bytes:
    """What tells a file from others: name, size, start; a sweep that is not there may be unused."""
    name = os.path.relpath(path, root) if root else path
    try:
        with open(path, "rb") as file:
            start = file.read(_START_BYTES)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return f"{name} missing ".encode()
    return f"{name} {size} ".encode() + hashlib.sha256(start).digest()


def unlabelled_frames(cfg: Config, count: int, unseen: int) -> tuple[FrameClouds, FrameClouds]:
    """Frames to fit on and frames to measure on, evenly spaced over the training data set.

    They pass through the test pipeline, which knows no labels. If there are fewer frames than
    ``count + unseen``, both numbers shrink alike.

    Args:
        cfg: the config of a detector.
        count: frames to fit on.
        unseen: frames that are not fitted on.

    Raises:
        ValueError: if the config has no data, or fewer than two frames.
    """
    for name in ("train_dataloader", "test_dataloader"):
        if not cfg.get(name):
            raise ValueError(f"student's config: expected a {name} in it, got none")
    if count < 1 or unseen < 1:
        raise ValueError(f"frames: expected at least 1 of each kind, got {count} and {unseen}")
    settings = copy.deepcopy(cfg.train_dataloader.dataset.to_dict())
    while "dataset" in settings:
        settings = settings["dataset"]
    settings.update(test_mode=True, load_eval_anns=False, pipeline=[])
    dataset = DATASETS.build(settings)
    pipeline = cfg.test_dataloader.dataset.to_dict()["pipeline"]
    if len(dataset) < 2:
        raise ValueError(f"frames: expected at least 2 in the data set, got {len(dataset)}")
    fit, rest = split_frames(len(dataset), count, unseen)
    return FrameClouds(dataset, fit, pipeline), FrameClouds(dataset, rest, pipeline)


def split_frames(total: int, count: int, unseen: int) -> tuple[list[int], list[int]]:
    """Numbers of the frames of both kinds; each kind is spread over all of the frames."""
    wanted = min(total, count + unseen)
    kept = max(1, min(wanted - 1, round(wanted * unseen / (count + unseen))))
    taken = [i * total // wanted for i in range(wanted)]
    # The middle one of every stretch is measured on.
    places = {(2 * i + 1) * wanted // (2 * kept) for i in range(kept)}
    return [f for i, f in enumerate(taken) if i not in places], [taken[i] for i in sorted(places)]
