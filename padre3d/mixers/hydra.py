"""Hydra attention (Bolya et al. 2022): linear attention with as many heads as channels.

O = Qhat * sum_t (Khat_t * V_t),  Qhat, Khat of unit length per token, * the Hadamard product

With the norms taken as coefficients a homogeneous polynomial of degree 3 in the input.
"""

from __future__ import annotations

from torch import Tensor

from padre3d.layers.half_precision import unit_length
from padre3d.mixers.heads import Heads
from padre3d.mixers.mixer import Mixer, check_mixer_inputs


class Hydra(Mixer):
    """Hydra attention on one set of tokens; positions enter queries and keys.

    Args:
        dim: channels D.
    """

    layout = "set"
    repeats_are_tokens = False
    sees_all_tokens = True
    knows_order = False
    ends_in = "heads.out"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.heads = Heads(dim, 1)

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        q, k, v = self.heads.project(x, pos, mask)
        total = (unit_length(k) * v).sum(-2, keepdim=True)
        return self.heads.out(self.heads.merge(unit_length(q) * total))
