"""Multi-head softmax self-attention within each set of tokens: the DSVT baseline.

``softmax(Q K^T / sqrt(D / h)) V`` per head with Q = (X + E) W_Q, K = (X + E) W_K, V = X W_V: the
position embedding E enters queries and keys only. The weights have the names of
``torch.nn.MultiheadAttention``, so its state dict (and a DSVT checkpoint) loads as it is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.checks import check_choice
from padre3d.mixers.heads import check_heads
from padre3d.mixers.mixer import Mixer, check_mixer_inputs, with_position, zero_masked

# Low enough that exp underflows to zero beside any other logit, finite in float16, and finite so
# that a set without a single token gives a mean instead of NaN.
MASKED_LOGIT = -3e4
IMPLEMENTATIONS = ("sdpa", "explicit")


def taylor_attention(q: Tensor, k: Tensor, v: Tensor, degree: int) -> Tensor:
    """Eq. 82: softmax attention with exp cut after the term of ``degree``: a rational function.

    Args:
        q, k, v: (..., L, D).
        degree: d of Eq. 81; the ratio has degree (2 d + 1) / 2 d in the input.
    """
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    term = torch.ones_like(logits)
    series = term
    for power in range(1, degree + 1):
        term = term * logits / power
        series = series + term
    return series @ v / series.sum(-1, keepdim=True)


class SetAttention(Mixer):
    """Softmax self-attention; all tokens of one row of the batch attend to each other.

    Args:
        dim: channels D, a multiple of ``num_heads``.
        num_heads: h.
        impl: "sdpa" (torch's fused attention) or "explicit" (the formula, with the L x L matrix).
        dropout: probability that an attention weight is dropped in training.
    """

    layout = "set"
    repeats_are_tokens = False
    sees_all_tokens = True
    knows_order = False
    ends_in = "self_attn.out_proj"

    def __init__(
        self, dim: int, num_heads: int = 8, impl: str = "sdpa", dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        check_choice("impl", impl, IMPLEMENTATIONS)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: expected a probability below 1, got {dropout}")
        self.dim, self.num_heads, self.impl, self.dropout = dim, num_heads, impl, dropout
        self.self_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        query_input = zero_masked(with_position(x, pos), mask)
        weight, bias = self.self_attn.in_proj_weight, self.self_attn.in_proj_bias
        split = 2 * self.dim
        q, k = F.linear(query_input, weight[:split], bias[:split]).chunk(2, dim=-1)
        v = F.linear(zero_masked(x, mask), weight[split:], bias[split:])
        out = self._attend(self._heads(q), self._heads(k), self._heads(v), _key_bias(x, mask))
        return self.self_attn.out_proj(out.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(G, L, D) -> (G, h, L, D / h)."""
        return x.unflatten(-1, (self.num_heads, self.dim // self.num_heads)).transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if self.impl == "sdpa":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=key_bias, dropout_p=dropout)
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if key_bias is not None:
            logits = logits + key_bias
        weights = logits.softmax(-1)
        return (F.dropout(weights, dropout) if dropout else weights) @ v


class SelfAttention(SetAttention):
    """Softmax self-attention over whole sequences: quadratic in their length."""

    layout = "sequence"


def _key_bias(x: Tensor, mask: Tensor | None) -> Tensor | None:
    """(G, 1, 1, L): zero for real keys, very low for masked ones."""
    if mask is None:
        return None
    bias = torch.zeros(mask.shape, dtype=x.dtype, device=x.device)
    return bias.masked_fill(~mask, MASKED_LOGIT)[:, None, None]
