"""Cost of the attentions and other mixers that Tables 2 and 6 set PADRe against, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

from padre3d.analysis.costs import MixerCost


@dataclass(frozen=True)
class AttentionCost:
    """Cost of one attention of N tokens, D channels and h heads.

    Attributes:
        parameters: weights and biases.
        maps: multiply-accumulates of its linear maps and convolutions.
        products: multiply-accumulates of the products between queries, keys and values.
    """

    parameters: int
    maps: int
    products: int

    @property
    def total(self) -> MixerCost:
        """Maps and products together."""
        return MixerCost(self.parameters, self.maps + self.products, 0)


NAMES = (
    "attention",
    "SimA",
    "k-NN attention",
    "Hydra attention",
    "Efficient attention",
    "Enhanced linear attention",
    "Linear-angular attention",
    "Focused linear attention",
)


def named_attention_cost(
    name: str, tokens: int, dim: int, num_heads: int, prefix: int = 0
) -> AttentionCost:
    """Cost of the scheme that the paper's tables call ``name``.

    All have the four dense maps of attention. Linear ones form K^T V and Q (K^T V) per head,
    2 N D^2 / h; those that need the N x N matrices 2 N^2 D. SimA is associative: the printed figure
    is that of (Q K^T) V. Linear-angular adds one kernel of 9 taps per head on V, focused linear a
    5 x 5 kernel per channel of a head with a bias on V, a scale per channel, and a learned position
    per token and channel.

    Args:
        name: one of :data:`NAMES`.
        tokens: N, the prefix included.
        dim: D.
        num_heads: h.
        prefix: tokens that focused linear's convolution leaves out.
    """
    if name not in NAMES:
        raise ValueError(f"attention: expected one of {NAMES}, got {name!r}")
    parameters, maps = 4 * dim**2 + 4 * dim, 4 * tokens * dim**2
    head = dim // num_heads
    if name in ("attention", "SimA", "k-NN attention"):
        return AttentionCost(parameters, maps, 2 * tokens**2 * dim)
    if name == "Hydra attention":
        return AttentionCost(parameters, maps, 2 * tokens * dim)
    if name == "Linear-angular attention":
        parameters, maps = parameters + 9 * num_heads, maps + 9 * tokens * dim
    if name == "Focused linear attention":
        parameters += 25 * head + head + dim + tokens * dim
        maps += 25 * (tokens - prefix) * dim
    return AttentionCost(parameters, maps, 2 * tokens * dim * head)


def hyena_parameters(dim: int, order: int = 2, width: int = 64, features: int = 33) -> int:
    """Parameters of a published Hyena operator; ``features`` of the lag, 33 in language models."""
    inner, filters = (order + 1) * dim, (order - 1) * dim
    outside = dim * inner + inner + 4 * inner + dim**2 + dim
    network = (features + 1) * width + 2 * (width + 1) * width + width + width * filters
    return outside + network + filters


def vision_mamba_cost(dim: int, patches: int = 196, depth: int = 24, state: int = 16) -> MixerCost:
    """Vision Mamba (Vim) of 24 bidirectional blocks without feed-forward networks, as published.

    E = 2 D; each direction has its own convolution of 4 taps, step projection of rank D / 16, A and
    skip. MACs of the linear maps: the scans and the convolutions are not in the printed figure.
    """
    inner, rank, tokens = 2 * dim, dim // 16, patches + 1
    dense = dim * 2 * inner + inner * dim
    direction = inner * (rank + 2 * state) + rank * inner
    extra = 5 * inner + inner + inner * state + inner
    embed, head = 16 * 16 * 3 * dim, 1000 * dim
    blocks = depth * (dense + 2 * (direction + extra) + dim)
    parameters = embed + dim + (tokens + 1) * dim + blocks + dim + head + 1000
    macs = patches * embed + depth * tokens * (dense + 2 * direction) + head
    return MixerCost(parameters, macs, 0)
