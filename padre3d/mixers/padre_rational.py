"""Rational PADRe as a module (appendix A.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padre3d.checks import check_count
from padre3d.mixers.linear_maps import (
    ChannelWeights,
    channel_map,
    output_map,
    token_map,
    token_weights,
)
from padre3d.mixers.mixer import (
    Mixer,
    OutputMap,
    check_mixer_inputs,
    with_position,
)
from padre3d.mixers.structure import Conv, Linear
from padre3d.mixers.token_image import Size, check_prefix_inputs, check_token_image
from padre3d.ops.padre.maps import Pointwise
from padre3d.ops.padre.rational import RationalWeights, rational_padre


class RationalPADRe(Mixer):
    """A ratio of two PADRe polynomials of degree d and e on ``x + pos``, then a dense map V.

    The first factor of each polynomial is mixed over tokens by a convolution, the others are not.
    The module starts as a polynomial: P = 1 and Q = 0.1. With d + e + 1 dense maps and two
    convolutions it has ``(d + e + 1)(D^2 + D) + 2 (k + 1) D + (d + e + 2) D`` parameters.

    Args:
        dim: channels D.
        degree: d >= 1 of the numerator; d <= 2 e keeps the output bounded as the input grows.
        denominator_degree: e >= 1.
        kernel_size: odd width k.
        epsilon: lower bound of the squared denominator, above 0.
        dims, size, prefix: 1-D or 2-D, the image and the tokens in front of it, as for
            :class:`padre3d.mixers.PADRe`.
    """

    def __init__(
        self,
        dim: int,
        degree: int = 2,
        denominator_degree: int = 1,
        kernel_size: int = 11,
        epsilon: float = 0.1,
        dims: int = 1,
        size: Size | None = None,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        check_count("RationalPADRe degree", degree, 1)
        check_count("RationalPADRe denominator_degree", denominator_degree, 1)
        self.size, self.prefix = check_token_image("RationalPADRe", dims, size, prefix), prefix
        if not epsilon > 0:
            raise ValueError(f"RationalPADRe epsilon: expected a number > 0, got {epsilon!r}")
        factors = degree + denominator_degree
        self.dim, self.epsilon = dim, epsilon
        firsts = (0, degree)
        self.a = nn.ModuleList(
            token_weights(Conv(kernel_size, dims) if i in firsts else None, dim)
            for i in range(factors)
        )
        self.b = nn.ModuleList(ChannelWeights(Linear(), dim) for _ in range(factors))
        self.w = nn.Parameter(torch.full((degree, dim), 0.5))
        self.constant = nn.Parameter(torch.zeros(dim))
        self.q = nn.Parameter(torch.full((denominator_degree, dim), 0.1))
        self.p = nn.Parameter(torch.ones(dim))
        self.v = ChannelWeights(Linear(), dim)

    @property
    def output_map(self) -> OutputMap | None:
        """V."""
        return output_map(self.v)

    def weights(self) -> RationalWeights:
        """The weights as the operator takes them."""
        return RationalWeights(
            a=tuple(token_map(m, self.size, self.prefix) for m in self.a),
            b=tuple(channel_map(m) for m in self.b),
            w=self.w,
            v=self.constant,
            q=self.q,
            p=self.p,
            epsilon=self.epsilon,
        )

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool."""
        check_mixer_inputs(x, pos, mask, self.dim)
        check_prefix_inputs("RationalPADRe", self.prefix, x, mask)
        tokens = with_position(x, pos)  # the operator zeroes masked ones
        return Pointwise(self.v.weight, self.v.bias)(rational_padre(tokens, self.weights(), mask))
