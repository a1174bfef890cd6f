"""A trained probe on validation frames, and what its backbone costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from padre3d.analysis.model_counts import count_stages, parameters
from padre3d.probe.cache import FrameCache
from padre3d.probe.frames import Frame
from padre3d.probe.metrics import FrameSums, frame_sums, summarize
from padre3d.probe.schedule import as_tensors
from padre3d.probe.training import Training, batch_targets


def validate(
    training: Training, frames: FrameCache | Sequence[Frame], replicates: int = 1000
) -> dict[str, Any]:
    """Metrics of :func:`padre3d.probe.metrics.summarize` on all frames, one frame at a time."""
    sums = [_sums_of(training, frames[i]) for i in range(len(frames))]
    return summarize(sums, training.settings.class_names, replicates)


@torch.no_grad()
def _sums_of(training: Training, frame: Frame) -> FrameSums:
    model = training.validated
    frame = as_tensors(frame, training.device)
    with training.autocast():
        predicted, coords = model([frame.points])
    targets = batch_targets(model, coords, [frame])
    return frame_sums(predicted, targets, model.grid.centres_m(coords[:, 1:]))


def backbone_costs(training: Training, frame: Frame) -> dict[str, int]:
    """Parameters and multiply-accumulates of the backbone on one frame, and of its mixers alone.

    See :mod:`padre3d.analysis.model_counts` for what counts as a multiply-accumulate.
    """
    model = training.model.eval()
    points = as_tensors(frame, training.device).points
    stages = {s.name: s for s in count_stages(model, lambda: model([points]))}
    backbone = [s for name, s in stages.items() if name.split(":")[0] == "backbone"]
    costs = {
        "parameters": parameters(model.backbone),
        "macs": sum(stage.macs for stage in backbone),
    }
    if "backbone: mixers" in stages:
        mixers = stages["backbone: mixers"]
        costs.update(mixer_parameters=mixers.parameters, mixer_macs=mixers.macs)
    return costs
