"""ReLU linear attention (EfficientViT, Cai et al.): the attention of "enhanced linear attention".

O_i = ReLU(Q_i) (sum_j ReLU(K_j)^T V_j) / (ReLU(Q_i) sum_j ReLU(K_j)^T)

What enhances it in the model that the paper's Table 2 cites is a depthwise 3 x 3 convolution inside
every feed-forward network, which is no part of a mixer (``padre3d.analysis.paper_tables`` counts
it).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.layers.half_precision import full_precision
from padre3d.mixers.heads import Heads, linear_attention
from padre3d.mixers.mixer import Mixer, check_mixer_inputs

EPSILON = 1e-6


class EnhancedLinear(Mixer):
    """ReLU linear attention on one set of tokens; positions enter queries and keys.

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
        q, k = F.relu(q), F.relu(k)  # masked keys are zero
        # Sums over all tokens and a quotient of small numbers have no room in half precision.
        work = torch.promote_types(q.dtype, torch.float32)
        with full_precision(q):
            q, k = q.to(work), k.to(work)
            weights = q @ k.sum(-2, keepdim=True).transpose(-1, -2)
            out = linear_attention(q, k, v.to(work)) / (weights + EPSILON)
        return self.heads.out(self.heads.merge(out.to(v.dtype)))
