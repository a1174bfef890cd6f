"""Castling-ViT's linear-angular attention as it runs at inference (appendix B.5).

O = Q (K^T V) / pi + (I / 2 + M_DW) V       (Eq. 76), M_DW a depthwise convolution

A polynomial of degree 3: the first term has degree 3, the second degree 1.
"""

from __future__ import annotations

import math

from torch import Tensor

from padre3d.checks import check_choice
from padre3d.layers.half_precision import unit_length
from padre3d.mixers.heads import Heads, linear_attention
from padre3d.mixers.linear_maps import TokenWeights
from padre3d.mixers.mixer import Mixer, check_mixer_inputs
from padre3d.mixers.structure import Conv


class Castling(Mixer):
    """Linear-angular attention on one set of tokens; positions enter queries and keys.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: heads.
        kernel_size: odd width of the depthwise convolution on V.
        normalise: l2-normalise queries, keys and the attention's result per token and head, as that
            scheme's authors do (the kernel is an angle); False is Eq. 76 to the letter, whose
            output grows with the number of tokens.
    """

    layout = "set"
    repeats_are_tokens = False
    sees_all_tokens = True
    ends_in = "heads.out"

    def __init__(
        self, dim: int, num_heads: int = 8, kernel_size: int = 3, normalise: bool = True
    ) -> None:
        super().__init__()
        check_choice("Castling normalise", normalise, (True, False))
        self.dim, self.normalise = dim, normalise
        self.heads = Heads(dim, num_heads)
        self.conv = TokenWeights(Conv(kernel_size), dim)

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        q, k, v = self.heads.project(x, pos, mask)
        if self.normalise:
            q, k = unit_length(q), unit_length(k)
        out = linear_attention(q, k, v) / math.pi + v / 2
        if self.normalise:
            out = unit_length(out)
        local = self.conv.tensors(None)(self.heads.merge(v))
        return self.heads.out(self.heads.merge(out) + local)
