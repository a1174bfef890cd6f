"""A trained probe on validation frames, and what its backbone costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch

from padre3d.analysis.model_counts import Stage, count_stages, parameters
from padre3d.probe.cache import FrameCache
from padre3d.probe.frames import Frame, evenly_spaced
from padre3d.probe.metrics import FrameSums, frame_sums, summarize
from padre3d.probe.model import Probe
from padre3d.probe.schedule import as_tensors
from padre3d.probe.training import Training, batch_targets

MIXERS = "backbone: mixers"
COST_FRAMES = 24


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


def backbone_costs(
    training: Training, frames: FrameCache | Sequence[Frame], limit: int = COST_FRAMES
) -> dict[str, int]:
    """Parameters and multiply-accumulates of the backbone, and of its mixers alone.

    The operations are means over at most ``limit`` frames, evenly spaced: they depend on the
    number of pillars, and set attention's on how well its sets are filled. See
    :mod:`padre3d.analysis.model_counts` for what counts as a multiply-accumulate.
    """
    model = training.model.eval()
    counted = [
        _backbone_stages(model, as_tensors(frames[i], training.device))
        for i in evenly_spaced(range(len(frames)), limit)
    ]
    costs = {
        "parameters": parameters(model.backbone),
        "macs": round(fmean(sum(stage.macs for stage in stages.values()) for stages in counted)),
    }
    if MIXERS in counted[0]:
        costs["mixer_parameters"] = counted[0][MIXERS].parameters
        costs["mixer_macs"] = round(fmean(stages[MIXERS].macs for stages in counted))
    return costs


def _backbone_stages(model: Probe, frame: Frame) -> dict[str, Stage]:
    stages = {stage.name: stage for stage in count_stages(model, lambda: model([frame.points]))}
    return {name: of for name, of in stages.items() if name.split(":")[0] == "backbone"}
