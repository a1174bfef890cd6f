"""Rational PADRe of degree [d/e] (appendix A.2), with a denominator that cannot vanish.

Y_i = A_i X B_i,  i = 1..d + e                       (Eq. 15)
K_j = Y_1 * .. * Y_j,  L_k = Y_{d+1} * .. * Y_{d+k}  (Eqs. 16, 17)
N = sum_j W_j * K_j + V                              (Eq. 18)
D = sum_k Q_k * L_k + P                              (Eq. 19)
O = N / (D^2 + epsilon)                              (Eq. 20; squared as A.2 advises)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from padre3d.checks import check_mask, check_shape
from padre3d.ops.padre import eager
from padre3d.ops.padre.maps import ChannelMap, TokenMap


@dataclass(frozen=True)
class RationalWeights:
    """The weights of Eqs. 15-19; a map that is ``None`` is the identity.

    Attributes:
        a, b: the d + e maps of Eq. 15.
        w: (d, D) weights of the numerator; d is its first size.
        v: (D,) constant of the numerator.
        q: (e, D) weights of the denominator; e is its first size.
        p: (D,) constant of the denominator.
        epsilon: added to the squared denominator; must be positive.
    """

    a: tuple[TokenMap | None, ...]
    b: tuple[ChannelMap | None, ...]
    w: Tensor
    v: Tensor
    q: Tensor
    p: Tensor
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        factors = self.w.shape[0] + self.q.shape[0]
        if len(self.a) != factors or len(self.b) != factors:
            raise ValueError(
                f"RationalWeights: expected d + e = {factors} maps a and b, "
                f"got {len(self.a)} and {len(self.b)}"
            )
        if not self.epsilon > 0:
            raise ValueError(f"RationalWeights.epsilon: expected > 0, got {self.epsilon}")


def rational_padre(x: Tensor, weights: RationalWeights, mask: Tensor | None = None) -> Tensor:
    """Evaluate Eqs. 15-20. x (G, N, D), mask (G, N) bool or None; returns (G, N, D).

    The maps of Eq. 15 run in the precision of x, the products and their ratio in float64: the ratio
    of two huge numbers may be small, and its gradient has the fourth power of the denominator. So
    no intermediate leaves the range as long as the Y_i are float32 numbers and d, e <= 4, 2. Where
    the ratio itself is no number of x's precision it saturates, with a gradient of zero; gradients
    of the Y_i saturate at the square root of that range (1.8e19), so that sums of them stay finite.
    """
    sizes = check_shape(x, "G N D", name="rational_padre x")
    if mask is not None:
        check_mask(mask, sizes["G"], sizes["N"], name="rational_padre mask")
    pad = None if mask is None else ~mask.unsqueeze(-1)
    x = x if pad is None else x.masked_fill(pad, 0.0)
    ys = [eager.linear_term(x, a, b, None, pad) for a, b in zip(weights.a, weights.b, strict=True)]
    d, dtype = weights.w.shape[0], ys[0].dtype
    wide = [widen(y) for y in ys]
    numerator = polynomial(wide[:d], weights.w, weights.v)
    denominator = polynomial(wide[d:], weights.q, weights.p)
    largest = torch.finfo(dtype).max
    ratio = numerator / (denominator.square() + weights.epsilon)
    return ratio.clamp(-largest, largest).to(dtype)


def widen(y: Tensor) -> Tensor:
    """y in float64; its gradient saturates on the way back to y's precision."""
    wide, limit = y.double(), torch.finfo(y.dtype).max ** 0.5
    if wide.requires_grad and wide is not y:
        wide.register_hook(lambda gradient: gradient.clamp(-limit, limit))
    return wide


def polynomial(ys: Sequence[Tensor], w: Tensor, constant: Tensor) -> Tensor:
    """Eqs. 16-19 in float64: ``sum_j w_j * (Y_1 * .. * Y_j) + constant``."""
    product = ys[0]
    total = constant.double() + w[0].double() * product
    for w_j, y in zip(w[1:], ys[1:], strict=True):
        product = product * y
        total = total + w_j.double() * product
    return total
