"""Occupied pillars of a batch, as the stages hand them on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from padre3d.checks import check_shape


@dataclass(frozen=True)
class Pillars:
    """Occupied pillars of a batch.

    Attributes:
        features: (N, C) one row per pillar.
        coords: (N, 3) int64 rows ``[batch, y, x]``, ascending in ``(batch, y * nx + x)``.
        batch_size: number of samples; a sample may have no pillar at all.
    """

    features: Tensor
    coords: Tensor
    batch_size: int

    def __post_init__(self) -> None:
        sizes = check_shape(self.features, "N C", name="Pillars.features")
        check_shape(self.coords, f"{sizes['N']} 3", name="Pillars.coords")

    def replace(self, features: Tensor) -> Pillars:
        """The same pillars with other features (N, C')."""
        return Pillars(features, self.coords, self.batch_size)
