"""Cross-PADRe as a module (appendix A.1): a drop-in for cross-attention."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from padre3d.mixers.linear_maps import (
    TokenWeights,
    channel_map,
    channel_weights,
    token_weights,
)
from padre3d.mixers.padre import HIGHER_DEGREE_GAIN
from padre3d.mixers.structure import Conv, Linear
from padre3d.ops.padre import PadreWeights, TokenMap, TokenMean
from padre3d.ops.padre.cross import check_order, cross_padre

LINKS = ("mean", "same")
Masks = Sequence[Tensor | None]


class CrossPolynomial(nn.Module):
    """Eq. 11 for one sequence c, summed over the degrees from 2.

    Args:
        dim: channels D.
        order: c as indices of inputs, 0 the input whose tokens the output has.
        kernel_size: odd width of the convolution on every factor that keeps its tokens.
        link: see :class:`CrossPADRe`.
    """

    def __init__(self, dim: int, order: Sequence[int], kernel_size: int, link: str) -> None:
        super().__init__()
        self.order = tuple(order)
        gains = [1.0] + [HIGHER_DEGREE_GAIN] * (len(self.order) - 1)
        self.b = nn.ModuleList(channel_weights(Linear(), dim, gain) for gain in gains)
        self.a = nn.ModuleList(
            token_weights(Conv(kernel_size) if m == 0 or link == "same" else None, dim)
            for m in self.order
        )

    def forward(self, inputs: Sequence[Tensor], masks: Masks) -> Tensor:
        """Inputs (G, N_m, D), masks (G, N_m) bool or None -> (G, N_0, D)."""
        tokens = inputs[0].shape[1]
        steps = len(self.order) - 1
        weights = PadreWeights(
            a=tuple(
                _token_map(module, tokens, masks[m])
                for module, m in zip(self.a, self.order, strict=True)
            ),
            b=tuple(channel_map(module) for module in self.b),
            c=(None,) * steps,
            d=(None,) * steps,
            terms=tuple(range(2, len(self.order) + 1)),
        )
        return cross_padre(inputs, self.order, weights, masks)


def _token_map(module: nn.Module, tokens: int, mask: Tensor | None) -> TokenMap:
    if isinstance(module, TokenWeights):
        return module.tensors(None)
    return TokenMean(tokens, None if mask is None else mask.sum(1).clamp(min=1))


class CrossPADRe(nn.Module):
    """Products of factors from several inputs, summed over degrees and over sequences c.

    Not a mixer of one input: ``forward`` takes a list. The output has the first input's tokens.

    Args:
        dim: channels D of all inputs.
        orders: sequences c of appendix A.1 as letters, "a" the first input: ("aab",) is the paper's
            example. Several sequences are summed, each with weights of its own.
        kernel_size: odd width k of the convolution on every factor that keeps its tokens.
        link: how another input reaches the first one's tokens: "mean" (its mean token; any
            length) or "same" (token by token and a convolution; equal lengths).

    Raises:
        ValueError: for an unknown link, or a sequence that is empty or has one input only.
    """

    def __init__(
        self,
        dim: int,
        orders: Sequence[str] = ("aab",),
        kernel_size: int = 11,
        link: str = "mean",
    ) -> None:
        super().__init__()
        if link not in LINKS:
            raise ValueError(f"link: expected one of {LINKS}, got {link!r}")
        indices = [[ord(letter) - ord("a") for letter in order] for order in orders]
        self.inputs = 1 + max((max(order, default=0) for order in indices), default=0)
        if not indices:
            raise ValueError("CrossPADRe orders: expected at least one sequence, got none")
        for order in indices:
            check_order(order, self.inputs, len(order))
        self.polynomials = nn.ModuleList(
            CrossPolynomial(dim, order, kernel_size, link) for order in indices
        )

    def forward(self, inputs: Sequence[Tensor], masks: Masks | None = None) -> Tensor:
        """Inputs (G, N_m, D) and their masks (G, N_m) bool or None -> (G, N_0, D)."""
        if len(inputs) != self.inputs:
            raise ValueError(f"CrossPADRe: expected {self.inputs} inputs, got {len(inputs)}")
        masks = [None] * len(inputs) if masks is None else masks
        parts = [polynomial(inputs, masks) for polynomial in self.polynomials]
        return sum(parts[1:], parts[0])
