"""Errors of a student's mixers and states, relative to how much the teacher's vary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from padre3d.distill.draws import Clouds
from padre3d.distill.pair import Pair
from padre3d.distill.trace import mix_each, trace

# Fewer pillars than this have no variance, so no error is relative to it.
LEAST_PILLARS = 2
# Share of the mean square below which a variance is what rounding in single precision leaves.
_NO_SPREAD = 1e-12


def relative_square(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean square error over the variance of the wanted rows around their mean; (N, D) each.

    Zero, with a gradient of zero, where the wanted rows do not vary: there is nothing to compare
    with.
    """
    spread = (wanted - wanted.mean(0)).square().mean()
    error = (found - wanted).square().mean()
    if not bool(spread > _NO_SPREAD * wanted.square().mean()):
        return error * torch.where(wanted.isfinite().all(), 0.0, torch.nan)
    return error / spread


class RelativeError:
    """RMS error over the standard deviation of the targets, over all rows of all frames.

    1 is what the targets' own mean would reach, 0 is perfect: ``sqrt(1 - R^2)``.
    """

    def __init__(self) -> None:
        self.count, self.error, self.square = 0, 0.0, 0.0
        self.total: Tensor | float = 0.0

    def add(self, found: Tensor, wanted: Tensor) -> None:
        """Rows (N, D)."""
        found, wanted = found.double(), wanted.double()
        self.count += len(wanted)
        self.error += float((found - wanted).square().sum())
        self.square += float(wanted.square().sum())
        self.total = self.total + wanted.sum(0)

    @property
    def value(self) -> float:
        """The error; NaN without rows, infinite for targets that do not vary."""
        if not self.count:
            return math.nan
        spread = self.square - float(torch.as_tensor(self.total).square().sum()) / self.count
        varies = spread > _NO_SPREAD * self.square
        return math.sqrt(self.error / spread) if varies else math.inf


def plain_errors(errors: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Errors by phase for a JSON file, which knows neither NaN nor infinity: None for both."""
    return {
        phase: {name: [v if math.isfinite(v) else None for v in of] for name, of in kinds.items()}
        for phase, kinds in errors.items()
    }


@torch.no_grad()
def measure(pair: Pair, clouds: Clouds) -> dict[str, Any]:
    """Errors on some clouds; those with fewer than two pillars are passed over.

    Returns:
        ``layers``: of each mixer's output on the teacher's input to it; ``blocks``: of the state
        after each block when the student runs by itself.
    """
    layers = [RelativeError() for _ in pair.layers]
    blocks = [RelativeError() for _ in pair.student.backbone.blocks]
    for i in range(len(clouds)):
        pillars = pair.pillars(clouds[i])
        if len(pillars.features) < LEAST_PILLARS:
            continue
        wanted = trace(pair.teacher.backbone, pillars)
        found = mix_each(pair.student.backbone, pillars, wanted.inputs)
        states = trace(pair.student.backbone, pillars).states
        for sums, a, b in zip(
            [*layers, *blocks], [*found, *states], [*wanted.mixed, *wanted.states], strict=True
        ):
            sums.add(a, b)
    return {"layers": [e.value for e in layers], "blocks": [e.value for e in blocks]}
