"""NDS of a detector whose head changes: what comes before the head is computed once per frame."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor

import padre3d.plugin  # noqa: F401  (first: it must precede mmdet3d)
from padre3d.bev import scatter_to_map
from padre3d.structures.boxes import Detections
from padre3d.structures.pillars import Pillars

MOST_GB = 8


def bev_of(model: Any, pillars: Pillars) -> Tensor:
    """What the head reads of encoded pillars."""
    pillars = model.backbone(pillars)
    return model.bev_backbone(scatter_to_map(pillars, model.grid.ny, model.grid.nx))


def check_memory(bev: Tensor, batches: int) -> None:
    """Raise ValueError if as many maps as this one need more than :data:`MOST_GB`."""
    size = bev.numel() * bev.element_size() * batches / 1e9
    if size > MOST_GB:
        raise ValueError(
            f"--nds: expected maps of {MOST_GB} GB at most, got {size:.1f} GB: give the "
            "config's test set fewer frames (indices)"
        )


class FrameScores:
    """The test frames of a config in the form that the head reads, and their official scores.

    Args:
        config: config file with a test set.
        model: its detector in evaluation mode.
        work_dir: where the evaluation's log goes.

    Raises:
        ValueError: if the maps of all frames do not fit into :data:`MOST_GB`.
    """

    def __init__(self, config: str, model: Any, work_dir: str) -> None:
        from mmengine.runner import Runner

        from padre3d.training.config import read_config

        cfg = read_config(config)
        cfg.work_dir, cfg.load_from = work_dir, None
        loop: Any = Runner.from_cfg(cfg).test_loop
        self.evaluator, self.size = loop.evaluator, len(loop.dataloader.dataset)
        self.model = model
        self.frames: list[tuple[Tensor, list[bool], list[Any]]] = []
        for data in loop.dataloader:
            self.frames.append(self._read(data))
            if len(self.frames) == 1:
                check_memory(self.frames[0][0], len(loop.dataloader))

    @torch.no_grad()
    def _read(self, data: Any) -> tuple[Tensor, list[bool], list[Any]]:
        data = self.model.data_preprocessor(data)
        clouds = data["inputs"]["points"]
        pillars = self.model.pillar_encoder(clouds)
        seen = set(pillars.coords[:, 0].tolist())
        occupied = [row in seen for row in range(len(clouds))]
        return bev_of(self.model, pillars), occupied, data["data_samples"]

    @torch.no_grad()
    def nds(self) -> float:
        """NDS with the head as it is now."""
        from padre3d.detector import to_instances

        for bev, occupied, samples in self.frames:
            found: list[Detections] = self.model.head.predict(self.model.head(bev))
            pairs = zip(found, occupied, strict=True)
            kept = [of if seen else of.select(slice(0)) for of, seen in pairs]
            instances = [to_instances(one) for one in kept]
            self.evaluator.process(self.model.add_pred_to_datasample(samples, instances))
        with redirect_stdout(sys.stderr):
            metrics = self.evaluator.evaluate(self.size)
        return next(value for name, value in metrics.items() if name.endswith("/NDS"))
