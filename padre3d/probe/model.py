"""The probe's network and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.probe.targets import PillarTargets
from padre3d.structures.grid import PillarGrid

OFFSET, HEADING, LOG_SIZE, VELOCITY = 2, 2, 3, 2


class Predictions(NamedTuple):
    """What the linear layer says of N pillars; units as in :class:`PillarTargets`.

    Attributes:
        logits: (N, classes + 1); the last one is the background's.
        offset: (N, 2) metres.
        heading: (N, 2) sine and cosine, of any length.
        log_size: (N, 3).
        velocity: (N, 2) m/s.
    """

    logits: Tensor
    offset: Tensor
    heading: Tensor
    log_size: Tensor
    velocity: Tensor


class Probe(nn.Module):
    """Pillar encoder, 3-D backbone and one linear layer per pillar.

    Encoder and linear layer are made before the backbone: at one torch seed they start with the
    same weights whatever the mixer.

    Args:
        grid: the pillar grid, or a config's dict of it.
        pillar_encoder: config of the pillar encoder.
        backbone: config of the backbone; its ``mixer`` names the token mixer.
        num_classes: classes without the background.
    """

    def __init__(
        self,
        grid: PillarGrid | Mapping[str, Any],
        pillar_encoder: Mapping[str, Any],
        backbone: Mapping[str, Any],
        num_classes: int,
    ) -> None:
        from padre3d.plugin import MODELS

        super().__init__()
        self.grid = PillarGrid.of(grid)
        self.sizes = (num_classes + 1, OFFSET, HEADING, LOG_SIZE, VELOCITY)
        self.pillar_encoder = MODELS.build({**pillar_encoder, "grid": self.grid})
        head = nn.Linear(self.pillar_encoder.out_channels, sum(self.sizes))
        self.backbone = MODELS.build({**backbone, "grid": self.grid})
        self.head = head

    def forward(self, points: Sequence[Tensor]) -> tuple[Predictions, Tensor]:
        """Clouds (P_b, 5) to predictions of N pillars and their cells (N, 3) ``[batch, y, x]``."""
        pillars = self.backbone(self.pillar_encoder(points))
        features = pillars.features.float()
        # Metres and log sizes are read off in single precision in every mode.
        with torch.autocast(features.device.type, enabled=False):
            out = self.head(features)
        return Predictions(*out.split(self.sizes, dim=1)), pillars.coords

    @property
    def num_classes(self) -> int:
        """Classes without the background."""
        return self.sizes[0] - 1

    @property
    def cell_m(self) -> float:
        """The longer side of a cell in metres."""
        return max(self.grid.cell_m)


def probe_loss(
    predicted: Predictions,
    targets: PillarTargets,
    class_weights: Tensor,
    weights: Mapping[str, float],
) -> Tensor:
    """Cross entropy of the class plus weighted smooth L1 of the rest over foreground pillars.

    Args:
        predicted: of N pillars.
        targets: of the same pillars.
        class_weights: (classes + 1,) weights in the cross entropy, the background's last.
        weights: of ``offset``, ``heading``, ``log_size`` and ``velocity``; the mean is over the
            foreground pillars, for the velocity over those of known velocity.
    """
    loss = F.cross_entropy(predicted.logits, targets.label, weight=class_weights)
    foreground = targets.box >= 0
    for name, weight in weights.items():
        rows = targets.velocity_known if name == "velocity" else foreground
        truth, guess = getattr(targets, name)[rows], getattr(predicted, name)[rows]
        # The sum over no row is 0 and has a gradient; the mean would be NaN.
        error = F.smooth_l1_loss(guess, truth, reduction="sum")
        loss = loss + weight * error / max(truth.numel(), 1)
    return loss
