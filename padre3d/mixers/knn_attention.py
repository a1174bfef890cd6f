"""k-NN attention (KVT, Wang et al. 2022): softmax attention over each query's nearest keys."""

from __future__ import annotations

import math

from torch import Tensor

from padre3d.checks import check_count
from padre3d.mixers.heads import Heads
from padre3d.mixers.mixer import Mixer, check_mixer_inputs
from padre3d.mixers.set_attention import MASKED_LOGIT


class KNNAttention(Mixer):
    """Softmax attention whose logits outside the largest ``neighbours`` of a query are left out.

    Quadratic in the number of tokens, with the whole matrix in memory; positions enter queries and
    keys.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: heads.
        neighbours: k; 100 is the authors' choice for the 197 tokens of a DeiT. With fewer tokens
            all of them.
    """

    layout = "set"
    repeats_are_tokens = False
    sees_all_tokens = True
    knows_order = False
    ends_in = "heads.out"

    def __init__(self, dim: int, num_heads: int = 8, neighbours: int = 100) -> None:
        super().__init__()
        self.dim = dim
        self.neighbours = check_count("KNNAttention neighbours", neighbours, 1)
        self.heads = Heads(dim, num_heads)

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        q, k, v = self.heads.project(x, pos, mask)
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, None], MASKED_LOGIT)
        if self.neighbours < x.shape[1]:
            nearest, index = logits.topk(self.neighbours, dim=-1)
            logits = logits.new_full((), -math.inf).expand_as(logits).scatter(-1, index, nearest)
        return self.heads.out(self.heads.merge(logits.softmax(-1).to(v.dtype) @ v))
