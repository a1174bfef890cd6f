"""Weights of the classes in the probe's loss, from how many pillars each class has."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from padre3d.pillars.voxelise import voxelise
from padre3d.probe.frames import Frame
from padre3d.probe.schedule import as_tensors
from padre3d.probe.targets import pillar_targets
from padre3d.structures.grid import PillarGrid


def pillar_counts(frames: Iterable[Frame], grid: PillarGrid, num_classes: int) -> Tensor:
    """Pillars (num_classes,) int64 of each class in the frames; the background is not counted."""
    counts = torch.zeros(num_classes + 1, dtype=torch.int64)
    for frame in map(as_tensors, frames):
        coords = voxelise([frame.points], grid, frame.points.shape[1]).coords
        centres = grid.centres_m(coords[:, 1:])
        truth = pillar_targets(centres, frame.boxes, frame.labels, max(grid.cell_m), num_classes)
        counts += torch.bincount(truth.label, minlength=num_classes + 1)
    return counts[:-1]


def class_weights(counts: Tensor, balance: float, background_weight: float) -> Tensor:
    """Weights (classes + 1,) of the cross entropy; the last one is the background's.

    A class weighs ``count ** -balance``, scaled so that the mean over all foreground pillars is 1:
    0 leaves the classes as they are, 1 gives each the same total weight, 0.5 is between both. A
    class without a pillar weighs as much as one with a single pillar.

    Args:
        counts: (classes,) pillars of each class.
        balance: 0 to 1.
        background_weight: weight of a background pillar.
    """
    seen = counts.clamp_min(1).double()
    weights = seen**-balance
    weights = weights * seen.sum() / (weights * seen).sum()
    return torch.cat([weights, weights.new_tensor([background_weight])]).float()
