"""Token layouts of a frame: how pillars become tokens of a mixer, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from padre3d.structures.grid_index import GridIndex


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
        window_index: (N,) int64 row of the table for each pillar, or None where row n is
            pillar n's.
    """

    table: Tensor
    window_index: Tensor | None = None

    def of(self, index: Tensor) -> Tensor:
        """Pillar rows of any shape (...) to embeddings (..., D)."""
        return F.embedding(
            index if self.window_index is None else self.window_index[index], self.table
        )

    def of_all(self) -> Tensor:
        """Embeddings (N, D) of all pillars in their rows' order."""
        return (
            self.table if self.window_index is None else F.embedding(self.window_index, self.table)
        )


@dataclass(frozen=True)
class TokenPlan:
    """Index tensors of a frame.

    Attributes:
        layouts: the distinct token orders, in the order of ``TokenPlanner.keys``; none if all
            layers are of the layout "grid".
        window_index: for each shift, (N,) index of each pillar in its window, ``y * window_x + x``.
        grid: where the pillars lie, if some layer is of the layout "grid".
    """

    layouts: tuple[TokenLayout, ...]
    window_index: tuple[Tensor, ...]
    grid: GridIndex | None = None
