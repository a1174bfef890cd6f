"""The data that flows between the stages: pillars and token layouts."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
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


@dataclass(frozen=True)
class TokenLayout:
    """How pillars become tokens for one mixer call, and back.

    Attributes:
        index: (G, L) int64 pillar row of each token slot; 0 where the slot is not valid.
        valid: (G, L) bool, or None where every slot is a token.
        slot: (N,) int64 position ``g * L + l`` of each pillar's (first) token.
    """

    index: Tensor
    valid: Tensor | None
    slot: Tensor

    def gather(self, features: Tensor) -> Tensor:
        """Pillar rows (N, D) to tokens (G, L, D)."""
        tokens = features.index_select(0, self.index.flatten())
        return tokens.unflatten(0, self.index.shape)

    def scatter(self, tokens: Tensor) -> Tensor:
        """Tokens (G, L, D) to pillar rows (N, D); the inverse of :meth:`gather`."""
        return tokens.flatten(0, 1).index_select(0, self.slot)


@dataclass(frozen=True)
class TokenPositions:
    """Position embeddings of pillars, looked up where they are needed.

    Attributes:
        table: (P, D) embeddings.
        places: (N,) int64 row of the table for each pillar, or None where row n is pillar n's.
    """

    table: Tensor
    places: Tensor | None = None

    def of(self, index: Tensor) -> Tensor:
        """Pillar rows of any shape (...) to embeddings (..., D)."""
        return F.embedding(index if self.places is None else self.places[index], self.table)
