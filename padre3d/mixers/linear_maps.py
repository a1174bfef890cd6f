"""Modules that own the weights of one linear map and hand them to the operator."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.mixers.mixer import OutputMap
from padre3d.mixers.structure import ChannelSpec, Conv, Dense, LowRank, TokenSpec
from padre3d.ops.padre import (
    ChannelLowRank,
    ChannelMap,
    Pointwise,
    TokenBlockConv,
    TokenCausalConv1d,
    TokenChain,
    TokenConv1d,
    TokenConv2d,
    TokenDense,
    TokenGridConv,
    TokenLowRank,
    TokenMap,
    TokenPrefix,
    TokenSum,
)
from padre3d.structures.grid_index import GridIndex

# Side of the convolution over the means of blocks.
BLOCK_TAPS = 3
# Where the tokens lie, for a 2-D convolution: an image (H, W), or the occupied cells of a grid.
Size = tuple[int, int] | GridIndex


def _normal(*shape: int, variance: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * math.sqrt(variance))


class ChannelWeights(nn.Module):
    """A channel map D -> D. The output has ``gain**2`` times the input's variance at the start."""

    def __init__(self, spec: ChannelSpec, dim: int, gain: float = 1.0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(dim))
        if isinstance(spec, LowRank):
            self.left = _normal(dim, spec.rank, variance=gain / dim)
            self.right = _normal(spec.rank, dim, variance=gain / spec.rank)
        else:
            self.weight = _normal(dim, dim, variance=gain**2 / dim)
        self.spec = spec

    def tensors(self) -> ChannelMap:
        """The map as the operator takes it."""
        if isinstance(self.spec, LowRank):
            return ChannelLowRank(self.left, self.right, self.bias)
        return Pointwise(self.weight, self.bias)


class TokenWeights(nn.Module):
    """A token map; keeps the variance of uncorrelated tokens at the start."""

    def __init__(self, spec: Dense | LowRank | Conv, dim: int) -> None:
        super().__init__()
        self.spec = spec
        if isinstance(spec, Conv):
            self.groups = dim if spec.groups is None else spec.groups
            if dim % self.groups:
                raise ValueError(
                    f"Conv.groups: expected a divisor of dim = {dim}, got {self.groups}"
                )
            first, *others = [(dim, dim // self.groups, *kernel) for kernel in spec.kernels]
            self.weight = _normal(*first, variance=1 / math.prod(first[1:]))
            # The 1 x k half of a separable convolution.
            self.weight2 = _normal(*others[0], variance=1 / spec.kernel_size) if others else None
            self.bias = nn.Parameter(torch.zeros(dim))
            taps = (BLOCK_TAPS, BLOCK_TAPS)
            self.block_weight = (
                _normal(dim, 1, *taps, variance=1 / math.prod(taps)) if spec.block else None
            )
        elif isinstance(spec, Dense):
            self.weight = _normal(spec.tokens, spec.tokens, variance=1 / spec.tokens)
        else:
            if spec.tokens is None:
                raise ValueError("LowRank as a token map: expected a number of tokens, got None")
            self.left = _normal(spec.tokens, spec.rank, variance=1 / spec.rank)
            self.right = _normal(spec.rank, spec.tokens, variance=1 / spec.tokens)

    def tensors(self, size: Size | None, prefix: int = 0, grid_impl: str = "auto") -> TokenMap:
        """The map as the operator takes it.

        Args:
            size: (H, W) of the token image or the grid's index; needed by a 2-D convolution.
            prefix: leading tokens that a convolution passes by, see ``TokenPrefix``.
            grid_impl: implementation on a grid, see ``TokenGridConv``.
        """
        if isinstance(self.spec, Dense):
            return TokenDense(self.weight)
        if isinstance(self.spec, LowRank):
            return TokenLowRank(self.left, self.right)
        conv = self._convolution(self.spec, size, grid_impl)
        if not prefix:
            return conv
        if isinstance(conv, (TokenGridConv, TokenSum)) or isinstance(size, GridIndex):
            raise ValueError(f"tokens on a grid: expected prefix=0, got {prefix}")
        return TokenPrefix(conv, prefix)

    def _convolution(
        self, spec: Conv, size: Size | None, grid_impl: str
    ) -> TokenConv1d | TokenConv2d | TokenGridConv | TokenChain | TokenSum:
        if spec.causal:
            return TokenCausalConv1d(self.weight, self.bias, self.groups)
        if spec.dims == 1:
            return TokenConv1d(self.weight, self.bias, self.groups)
        if size is None:
            raise ValueError(
                "a 2-D PADRe: expected size=(H, W) of the token image or a GridIndex, got None"
            )

        def conv(weight: Tensor, bias: Tensor | None) -> TokenConv2d | TokenGridConv:
            if isinstance(size, GridIndex):
                return TokenGridConv(weight, size, bias, spec.dilation, grid_impl)
            return TokenConv2d(weight, size, bias, self.groups, spec.dilation)

        near: TokenConv2d | TokenGridConv | TokenChain = conv(self.weight, self.bias)
        if self.weight2 is not None:
            near = TokenChain((conv(self.weight, None), conv(self.weight2, self.bias)))
        if self.block_weight is None:
            return near
        if not isinstance(size, GridIndex):
            raise ValueError(f"block={spec.block}: expected tokens on a grid, got an image {size}")
        return TokenSum((near, TokenBlockConv(self.block_weight, size, spec.block)))


class CausalTaps(nn.Conv1d):
    """A depthwise convolution of (G, L, C) that looks back over ``taps`` tokens, with a bias.

    Hyena's and Mamba's short one; the last tap is the token itself.
    """

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__(channels, channels, taps, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(G, L, C) -> (G, L, C)."""
        padded = F.pad(x.transpose(1, 2), (self.kernel_size[0] - 1, 0))
        return super().forward(padded).transpose(1, 2)


def token_weights(spec: TokenSpec, dim: int) -> TokenWeights | nn.Identity:
    """A module for the spec; the identity owns nothing."""
    return nn.Identity() if spec is None else TokenWeights(spec, dim)


def channel_weights(spec: ChannelSpec, dim: int, gain: float = 1.0) -> ChannelWeights | nn.Identity:
    """A module for the spec; the identity owns nothing."""
    return nn.Identity() if spec is None else ChannelWeights(spec, dim, gain)


def token_map(
    module: nn.Module, size: Size | None, prefix: int = 0, grid_impl: str = "auto"
) -> TokenMap | None:
    """The operator's record of a module made by :func:`token_weights`."""
    return module.tensors(size, prefix, grid_impl) if isinstance(module, TokenWeights) else None


def channel_map(module: nn.Module) -> ChannelMap | None:
    """The operator's record of a module made by :func:`channel_weights`."""
    return module.tensors() if isinstance(module, ChannelWeights) else None


def output_map(module: nn.Module) -> OutputMap | None:
    """The dense map of a module made by :func:`channel_weights`; None if it has another form."""
    if not isinstance(module, ChannelWeights) or isinstance(module.spec, LowRank):
        return None
    return OutputMap(module.weight.t(), module.bias)


def initial_sum_weights(kind: str | None, degree: int, dim: int) -> Tensor | None:
    """Ones of the shape of W in Eq. 6, or None."""
    shapes = {"scalar": (degree,), "channel": (degree, dim)}
    return None if kind is None else torch.ones(shapes[kind])
