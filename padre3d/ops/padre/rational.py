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

from padre3d.checks import check_shape
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

    Numerator and denominator are evaluated on ``u_i = Y_i / rho`` with rho = max(1, max_i |Y_i|)
    and put together again as ``rho^(d - 2 e) N(u) / (D(u)^2 + epsilon rho^(-2 e))``: the same
    function, but no power of a large Y_i overflows while d <= 2 e. Since the value does not depend
    on rho, neither does the gradient, and rho is a constant to autograd.
    """
    sizes = check_shape(x, "G N D", name="rational_padre x")
    if mask is not None:
        check_shape(mask, f"{sizes['G']} {sizes['N']}", name="rational_padre mask")
    pad = None if mask is None else ~mask.unsqueeze(-1)
    ys = [eager.linear_term(x, a, b, None, pad) for a, b in zip(weights.a, weights.b, strict=True)]
    d, e = weights.w.shape[0], weights.q.shape[0]
    rho = torch.stack([y.detach().abs() for y in ys]).amax(0).clamp_min(1.0)
    inverse = 1.0 / rho
    us = [y * inverse for y in ys]
    numerator = scaled_polynomial(us[:d], weights.w, weights.v, inverse)
    denominator = scaled_polynomial(us[d:], weights.q, weights.p, inverse)
    floor = (weights.epsilon * inverse ** (2 * e)).clamp_min(torch.finfo(rho.dtype).tiny)
    return numerator / (denominator.square() + floor) * rho ** (d - 2 * e)


def scaled_polynomial(us: Sequence[Tensor], w: Tensor, constant: Tensor, inverse: Tensor) -> Tensor:
    """Eqs. 16-19 over rho^n: ``sum_j w_j (u_1 * .. * u_j) rho^(j - n) + constant rho^(-n)``.

    Evaluated from the lowest degree up; n is the number of factors.
    """
    total = constant * inverse ** len(us)
    product = torch.ones_like(us[0])
    for j, u in enumerate(us, start=1):
        product = product * u
        total = total + w[j - 1] * product * inverse ** (len(us) - j)
    return total
