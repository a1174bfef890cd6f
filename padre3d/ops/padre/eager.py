"""The fast path: the equations with structured maps, in linear time, in the input's precision."""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.ops.padre.maps import ChannelMap, TokenChain, TokenMap, TokenSum
from padre3d.ops.padre.weights import PadreWeights

EPSILON = 1e-6


def padre(x: Tensor, weights: PadreWeights, mask: Tensor | None) -> Tensor:
    """Eqs. 1-7 in order. x (G, N, D), mask (G, N) bool or None."""
    pad = None if mask is None else ~mask.unsqueeze(-1)
    ys = linear_terms(x, weights, pad)
    zs = recurrence(ys, weights, pad)
    return resize(weighted_sum(zs, weights), weights, pad)


def mix_tokens(x: Tensor, token_map: TokenMap | None, pad: Tensor | None) -> Tensor:
    """``A X`` with the padding tokens set to zero first; the only place where tokens mix."""
    if token_map is None:
        return x
    if isinstance(token_map, TokenChain):
        for factor in token_map.maps:
            x = mix_tokens(x, factor, pad)
        return x
    if isinstance(token_map, TokenSum):
        first, *others = token_map.maps
        total = mix_tokens(x, first, pad)
        for part in others:
            total = total + mix_tokens(x, part, pad)
        return total
    return token_map(x if pad is None else x.masked_fill(pad, 0.0))


def mix_channels(x: Tensor, channel_map: ChannelMap | None) -> Tensor:
    """``X B + b``."""
    return x if channel_map is None else channel_map(x)


def normalise(y: Tensor, kind: str | None) -> Tensor:
    """Section 3.3: normalise Y_i over its channels (no learned scale: B_i and D_i have it)."""
    if kind is None:
        return y
    if kind == "max":
        return y / y.abs().amax(-1, keepdim=True).clamp_min(EPSILON)
    # Squares of more than 256 overflow in float16.
    wide = y.to(torch.promote_types(y.dtype, torch.float32))
    if kind == "layer":
        wide = wide - wide.mean(-1, keepdim=True)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)).to(y.dtype)


def linear_term(
    x: Tensor, a: TokenMap | None, b: ChannelMap | None, norm: str | None, pad: Tensor | None
) -> Tensor:
    """Eq. 1: ``Y_i = A_i X B_i``, normalised if asked for."""
    return normalise(mix_tokens(mix_channels(x, b), a, pad), norm)


def linear_terms(x: Tensor, weights: PadreWeights, pad: Tensor | None) -> list[Tensor]:
    """Eq. 1 for i = 1..d."""
    return [
        linear_term(x, a, b, weights.normalise, pad)
        for a, b in zip(weights.a, weights.b, strict=True)
    ]


def basis_coefficients(basis: str, i: int) -> tuple[float, float]:
    """(alpha, beta) of ``T_{i+1} = alpha y T_i - beta T_{i-1}``, the recurrence of the basis."""
    if basis == "chebyshev":
        return 2.0, 1.0
    if basis == "legendre":
        return (2 * i + 1) / (i + 1), i / (i + 1)
    return 1.0, 0.0


def recurrence(ys: list[Tensor], weights: PadreWeights, pad: Tensor | None) -> list[Tensor]:
    """Eqs. 2-3: ``Z_1 = Y_1``, ``Z_{i+1} = (C_i Z_i D_i) * Y_{i+1}``.

    An orthogonal basis turns Eq. 3 into ``alpha_i (C_i Z_i D_i) * Y_{i+1} - beta_i Z_{i-1}`` with
    Z_0 = 1: with identity maps and equal Y_i it is exactly T_i(Y) or the Legendre P_i(Y).
    """
    zs = [ys[0]]
    for i, (y, c, d) in enumerate(zip(ys[1:], weights.c, weights.d, strict=True), start=1):
        z = mix_tokens(mix_channels(zs[-1], d), c, pad) * y
        alpha, beta = basis_coefficients(weights.basis, i)
        if beta:
            z = alpha * z - beta * (zs[-2] if i > 1 else 1.0)
        zs.append(z)
    return zs


def weighted_sum(zs: list[Tensor], weights: PadreWeights) -> Tensor:
    """Eq. 6: ``P = sum_i W_i * Z_i + L`` over ``weights.terms``."""
    terms = weights.terms or range(1, len(zs) + 1)
    parts = [zs[i - 1] if weights.w is None else weights.w[i - 1] * zs[i - 1] for i in terms]
    p = parts[0]
    for part in parts[1:]:
        p = p + part
    return p if weights.l is None else p + weights.l


def resize(p: Tensor, weights: PadreWeights, pad: Tensor | None) -> Tensor:
    """Eq. 7: ``O = U P V``."""
    return mix_tokens(mix_channels(p, weights.v), weights.u, pad)
