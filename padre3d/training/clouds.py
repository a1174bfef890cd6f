"""Clouds that a tool looks at: of point files, or of a config's data set."""

from __future__ import annotations

from pathlib import Path

import torch

from padre3d.io import drop_invalid, load_points, point_files
from padre3d.training.config import read_config


def dataset_clouds(config: str, loader: str, count: int, option: str) -> list[torch.Tensor]:
    """Points of ``count`` frames spread over one of a config's data sets, without augmentation."""
    from mmdet3d.registry import DATASETS

    cfg = read_config(config)
    dataset = cfg[loader].dataset
    while "dataset" in dataset:  # wrappers that repeat or balance
        dataset = dataset.dataset
    annotations = Path(dataset.data_root) / dataset.ann_file
    if not annotations.is_file():
        raise ValueError(
            f"no frame: expected {option} FILE, or the data set of {config}, whose {annotations} "
            "does not exist"
        )
    pipeline = cfg.test_dataloader.dataset.pipeline
    frames = DATASETS.build({**dataset, "pipeline": pipeline, "test_mode": True})
    rows = torch.linspace(0, len(frames) - 1, min(count, len(frames))).long().tolist()
    return [frames[row]["inputs"]["points"] for row in rows]


def read_clouds(paths: list[Path], most: int | None = None) -> dict[str, torch.Tensor]:
    """Clouds of point files and folders by the end of their names, numbered if two are equal."""
    files = point_files(paths)[:most] if paths else []
    names = [path.name[-30:] for path in files]
    if len(set(names)) < len(names):
        names = [f"{row}: {name}" for row, name in enumerate(names)]
    points = (torch.from_numpy(drop_invalid(load_points(path))[0]) for path in files)
    return dict(zip(names, points, strict=True))
