"""Efficient attention (Shen et al. 2021).

O = rho_q(Q) (rho_k(K)^T V),  rho_q the softmax over channels, rho_k over tokens, per head

Each output is a mean of all values with weights that depend on the token through rho_q(Q) alone:
the part of the output that depends on the token is small at the start of training and falls with
the number of tokens, as SimA's does.
"""

from __future__ import annotations

from torch import Tensor

from padre3d.mixers.heads import Heads, linear_attention
from padre3d.mixers.mixer import Mixer, check_mixer_inputs
from padre3d.mixers.set_attention import MASKED_LOGIT


class EfficientAttention(Mixer):
    """Efficient attention on one set of tokens; positions enter queries and keys.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: heads.
    """

    layout = "set"
    repeats_are_tokens = False
    sees_all_tokens = True
    knows_order = False
    ends_in = "heads.out"

    def __init__(self, dim: int, num_heads: int = 8) -> None:
        super().__init__()
        self.dim = dim
        self.heads = Heads(dim, num_heads)

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        q, k, v = self.heads.project(x, pos, mask)
        if mask is not None:
            k = k.masked_fill(~mask[:, None, :, None], MASKED_LOGIT)
        out = linear_attention(q.softmax(-1).to(v.dtype), k.softmax(-2).to(v.dtype), v)
        return self.heads.out(self.heads.merge(out))
