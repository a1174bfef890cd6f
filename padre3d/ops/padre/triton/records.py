"""What the launches take and keep: weights, token rows, intermediate results, gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class MixerWeights:
    """Channel maps (D, D) and biases (D,) B_i, taps (D, 1, k) and biases C_i, and the map V."""

    b_weight: tuple[Tensor, ...]
    b_bias: tuple[Tensor, ...]
    c_weight: tuple[Tensor, ...]
    c_bias: tuple[Tensor, ...]
    v_weight: Tensor
    v_bias: Tensor

    @property
    def degree(self) -> int:
        """Degree d."""
        return len(self.b_weight)

    def four_maps(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Weights and biases of the maps B_i as the kernels take them: always four."""
        last = 4 - self.degree
        weights = self.b_weight + (self.b_weight[0],) * last
        return weights, self.b_bias + (self.b_bias[0],) * last


@dataclass(frozen=True)
class LayerWeights:
    """What an encoder layer has beside its mixer; eps are those of the three norms."""

    gamma1: Tensor
    beta1: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    gamma2: Tensor
    beta2: Tensor
    gamma3: Tensor
    beta3: Tensor
    eps: tuple[float, float, float]


@dataclass(frozen=True)
class Rows:
    """The tokens, and the pillars they are.

    Attributes:
        index: (T,) int64 pillar of each token, or None where rows are tokens.
        valid: (T,) uint8, or None where all are.
        length: tokens L of a sample.
        tokens: T.
        window_index: (N,) int64 row of each pillar's position embedding, or None where that is the
            pillar's own; only without gradients.
    """

    index: Tensor | None
    valid: Tensor | None
    length: int
    tokens: int
    window_index: Tensor | None = None


@dataclass(frozen=True)
class Saved:
    """What the backward pass needs of the forward pass."""

    y: Tensor
    z: Tensor
    sum1: Tensor | None = None
    sum2: Tensor | None = None


@dataclass(frozen=True)
class MixerGradients:
    """Gradients of x, pos and the mixer's weights; ``v_bias`` is the caller's."""

    x: Tensor
    pos: Tensor | None
    b_weight: tuple[Tensor, ...]
    b_bias: tuple[Tensor, ...]
    c_weight: tuple[Tensor, ...]
    c_bias: tuple[Tensor, ...]
    v_weight: Tensor
