"""A config for a prepared folder: one of ours with its data root, classes and sweeps in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from padre3d.io.files import write_atomic
from padre3d.structures.grid import PillarGrid
from padre3d.training.consistency import LOADERS, override


def own_config(
    base: Path,
    root: Path,
    classes: Sequence[str],
    num_sweeps: int,
    tag: str = "nuscenes",
    range_m: Sequence[float] | None = None,
) -> str:
    """The text of a config that stands on its own.

    Args:
        base: a config of ours; the model, the schedule and the augmentation are its.
        root: the prepared data.
        classes: class names in label order.
        num_sweeps: sweeps there are; the base's number where it is smaller.
        tag: first word of the names of infos and database.
        range_m: xmin, ymin, zmin, xmax, ymax, zmax of the model; None: the base's.

    Raises:
        FileNotFoundError: if there is no such config.
        ValueError: if the cells do not divide the range.
    """
    cfg = Config.fromfile(base)
    options: dict[str, Any] = {"model.class_names": list(classes)}
    if range_m is not None:
        options["model.grid.range_m"] = list(range_m)
    override(cfg, options)
    PillarGrid.of(cfg.model.grid)
    for loader in LOADERS:
        _adapt(cfg[loader], str(root.resolve()), num_sweeps, tag)
    # The variables of the base that the loaders were made of: they would only contradict.
    for name in ("train_dataset", "val_dataset", "train_pipeline", "test_pipeline", "class_names"):
        cfg.pop(name, None)
    cfg.data_root = str(root.resolve())
    cfg.point_cloud_range = list(map(float, cfg.model.grid.range_m))
    head = f'"""{base.stem} for the data in {root.name}; written by tools/create_data.py."""\n\n'
    return head + cfg.pretty_text


def check_base(base: Path, range_m: Sequence[float] | None = None) -> None:
    """Raise FileNotFoundError or ValueError if no config can be made of this one.

    Args:
        base, range_m: as for :func:`own_config`.
    """
    cfg = Config.fromfile(base)
    grid = cfg.get("model", {}).get("grid")
    if grid is None:
        raise ValueError("expected a config with model.grid")
    PillarGrid.of(grid if range_m is None else {**grid, "range_m": tuple(range_m)})


def write_own_config(path: Path, *args: Any, **kwargs: Any) -> None:
    """Write :func:`own_config`'s text."""
    write_atomic(path, own_config(*args, **kwargs))


def _adapt(node: Any, root: str, num_sweeps: int, tag: str) -> None:
    if isinstance(node, (list, tuple)):
        for item in node:
            _adapt(item, root, num_sweeps, tag)
    if not isinstance(node, dict):
        return
    kind = str(node.get("type")).rpartition(".")[2]
    if kind == "LoadSweeps":
        stride = node.get("stride", 1)
        node["num_sweeps"] = min(node.get("num_sweeps", 10), 1 + (num_sweeps - 1) // stride)
    if kind == "SampleGroundTruth":
        node["info_file"] = f"{tag}_dbinfos_train.pkl"
    if "ann_file" in node:
        node["data_root"] = root
        split = "train" if "train" in str(node["ann_file"]) else "val"
        node["ann_file"] = f"{tag}_infos_{split}.pkl"
    for item in node.values():
        _adapt(item, root, num_sweeps, tag)
