"""The equal-cost control: the convolutions and dense maps of PADRe without the Hadamard product.

Y_i = A_i X B_i,  Z_1 = Y_1,  Z_{i+1} = (C_i Z_i D_i + Y_{i+1}) / 2,  P = sum_i Z_i

Eq. 3 with a mean in place of the product: as many parameters and MACs, but of degree 1.
What PADRe gains over it is what the product gains.
"""

from __future__ import annotations

from torch import Tensor

from padre3d.mixers.linear_maps import Size
from padre3d.mixers.mixer import with_position, zero_masked
from padre3d.mixers.padre import PADRe
from padre3d.ops.padre import eager


class ConvControl(PADRe):
    """PADRe's arguments and weights, additive: without other implementations and bases."""

    implementations = ("eager",)
    bases = ("monomial",)

    def forward(
        self,
        x: Tensor,
        pos: Tensor | None = None,
        mask: Tensor | None = None,
        size: Size | None = None,
    ) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos, mask and size as for :class:`PADRe`."""
        self.check_inputs(x, pos, mask, size)
        pad = None if mask is None else ~mask.unsqueeze(-1)
        weights = self.weights(size)
        ys = eager.linear_terms(zero_masked(with_position(x, pos), mask), weights, pad)
        zs = [ys[0]]
        for y, c, d in zip(ys[1:], weights.c, weights.d, strict=True):
            zs.append((eager.mix_tokens(eager.mix_channels(zs[-1], d), c, pad) + y) / 2)
        return eager.resize(eager.weighted_sum(zs, weights), weights, pad)
