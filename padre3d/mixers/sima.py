"""SimA (appendix B.1): attention with column-wise l1 normalisation in place of softmax.

O = Qhat (Khat^T V),  Qhat^i = Q^i / ||Q^i||_1,  Khat^i = K^i / ||K^i||_1    (Eqs. 21-23)

The i-th column runs over the tokens. With the norms taken as coefficients, O is a homogeneous
polynomial of degree 3 (Eqs. 26, 27).

The norms are sums over all tokens, so the entries of Qhat fall as 1 / L, and with them the part of
the output that depends on the token: at the start of training its standard deviation is 4e-4 for
500 unit tokens of 64 channels. SimA's authors have the same; training has to make up for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.layers.half_precision import full_precision
from padre3d.mixers.heads import Heads, linear_attention
from padre3d.mixers.mixer import Mixer, check_mixer_inputs

EPSILON = 1e-6


def column_norms(x: Tensor) -> Tensor:
    """||x^i||_1 over the tokens of (..., L, D): (..., 1, D).

    Zero columns, as of a set without a real token, count as 1: zero divided by anything is zero,
    and with epsilon the gradient would be a million times too large.
    """
    norms = x.abs().sum(-2, keepdim=True)
    return norms.masked_fill(norms == 0, 1.0).clamp_min(EPSILON)


def sima(q: Tensor, k: Tensor, v: Tensor, q_norms: Tensor, k_norms: Tensor) -> Tensor:
    """Eq. 21 with the norms given: degree 3 in the input once they are constants."""
    return linear_attention(q / q_norms, k / k_norms, v)


class SimA(Mixer):
    """SimA on one set of tokens; positions enter queries and keys.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: heads, each with its own D / h columns.
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
        # The gradient of q / |q| has terms of 1 / |q| that cancel; float16 would overflow before.
        work = torch.promote_types(q.dtype, torch.float32)
        with full_precision(q):
            wide_q, wide_k = q.to(work), k.to(work)
            norms = column_norms(wide_q), column_norms(wide_k)
            out = sima(wide_q, wide_k, v.to(work), *norms)
        return self.heads.out(self.heads.merge(out.to(v.dtype)))
