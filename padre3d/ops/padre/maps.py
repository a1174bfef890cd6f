"""The structured matrices of Eq. 1: token maps act from the left, channel maps from the right.

A map is a frozen record of weight tensors. ``None`` in place of a map is the identity. Tokens are
always (G, N, D): a batch of G sequences of N tokens with D channels. Biases are part of a map
although the paper's matrices have none; with them a map is affine.

| map | matrix it stands for | cost per sequence |
|---|---|---|
| TokenDense | N' x N | N' N D |
| TokenLowRank | N' x r times r x N | (N' + N) r D |
| TokenConv1d | banded Toeplitz per channel, or per pair of channels of a group | N k D^2 / groups |
| TokenCausalConv1d | the same, lower triangular | as TokenConv1d |
| TokenConv2d | the same on an H x W image, N = H W | N k^2 D^2 / groups |
| TokenGridConv | the same on the occupied cells of maps, depthwise | N k^2 D, see grid_conv.py |
| TokenBlockConv | a convolution of the means of blocks of cells | 2 N D, see block_conv.py |
| TokenChain | a product of such matrices | their sum |
| TokenSum | a sum of such matrices | their sum |
| TokenPrefix | a convolution with rows for tokens outside the image in front | as the convolution |
| TokenMean | N' x N, all entries 1 / N | N D |
| Pointwise | D x D' | N D D' |
| ChannelLowRank | D x r times r x D' | N (D + D') r |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.ops.padre.block_conv import block_convolution
from padre3d.ops.padre.grid_conv import grid_convolution
from padre3d.structures.grid_index import GridIndex


@dataclass(frozen=True)
class TokenDense:
    """``weight`` (N', N) and ``bias`` (N',): every token sees every token."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N', D)."""
        out = self.weight @ x
        return out if self.bias is None else out + self.bias.unsqueeze(-1)


@dataclass(frozen=True)
class TokenLowRank:
    """``left`` (N', r) times ``right`` (r, N)."""

    left: Tensor
    right: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N', D)."""
        return self.left @ (self.right @ x)


@dataclass(frozen=True)
class TokenConv1d:
    """``weight`` (D, D / groups, k) with odd k, zero padding k // 2, and ``bias`` (D,)."""

    weight: Tensor
    bias: Tensor | None = None
    groups: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N, D).

        A 1 x k convolution on (G, D, 1, N): with the channels last in memory, as they are here, the
        CPU kernel reads the tokens where they lie. A 1-D convolution would transpose them twice and
        takes up to 18 times as long (docs/method.md).
        """
        image = x.transpose(1, 2).unsqueeze(2)
        out = _convolve(image, self.weight.unsqueeze(2), self.bias, self.groups)
        return out.squeeze(2).transpose(1, 2)


@dataclass(frozen=True)
class TokenCausalConv1d(TokenConv1d):
    """A convolution that looks back only: the last of the k taps is the token itself."""

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N, D): the centred convolution, k // 2 tokens later."""
        shift = self.weight.shape[2] // 2
        return super().__call__(F.pad(x, (0, 0, shift, 0)))[:, : x.shape[1]]


@dataclass(frozen=True)
class TokenConv2d:
    """``weight`` (D, D / groups, k, k') on tokens that are an image of ``size`` (H, W), by rows."""

    weight: Tensor
    size: tuple[int, int]
    bias: Tensor | None = None
    groups: int = 1
    dilation: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """(G, H W, D) -> (G, H W, D)."""
        height, width = self.size
        if x.shape[1] != height * width:
            raise ValueError(
                f"a 2-D token map with size=({height}, {width}): expected {height * width} tokens, "
                f"got {x.shape[1]}"
            )
        image = x.unflatten(1, self.size).permute(0, 3, 1, 2)
        out = _convolve(image, self.weight, self.bias, self.groups, self.dilation)
        return out.permute(0, 2, 3, 1).flatten(1, 2)


@dataclass(frozen=True)
class TokenGridConv:
    """A depthwise convolution over the occupied cells of a grid (section 4.1 on sparse maps).

    ``weight`` (D, 1, k, k'), ``bias`` (D,). As a matrix: the entry of output token m and input
    token n is the tap at the offset of n's cell from m's, in the same sample, or zero. An empty
    cell is a token that is not there: it counts as zero, and gets no result and no bias.

    ``impl`` is the code that computes it, see :mod:`padre3d.ops.padre.grid_conv`.
    """

    weight: Tensor
    index: GridIndex
    bias: Tensor | None = None
    dilation: int = 1
    impl: str = "auto"

    def __call__(self, x: Tensor) -> Tensor:
        """(1, N, D) -> (1, N, D): the tokens of all samples, in the rows of ``index``."""
        _check_grid_tokens(x, self.index, "TokenGridConv")
        tokens = x.squeeze(0)
        return grid_convolution(
            tokens, self.weight, self.bias, self.index, self.dilation, self.impl
        ).unsqueeze(0)


@dataclass(frozen=True)
class TokenBlockConv:
    """A depthwise convolution of the means of blocks of ``side`` x ``side`` cells.

    ``weight`` (D, 1, k, k'). As a matrix: the entry of output token m and input token n is the tap
    at the offset of n's block from m's, in the same sample, divided by the number of tokens in n's
    block; or zero.
    """

    weight: Tensor
    index: GridIndex
    side: int

    def __call__(self, x: Tensor) -> Tensor:
        """(1, N, D) -> (1, N, D), as for :class:`TokenGridConv`."""
        _check_grid_tokens(x, self.index, "TokenBlockConv")
        return block_convolution(x.squeeze(0), self.weight, self.index, self.side).unsqueeze(0)


@dataclass(frozen=True)
class TokenChain:
    """One map after the other, the first of ``maps`` first, such as k x 1 and then 1 x k."""

    maps: tuple[TokenConv2d | TokenGridConv, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N, D)."""
        for token_map in self.maps:
            x = token_map(x)
        return x


@dataclass(frozen=True)
class TokenSum:
    """The sum of several maps of the same tokens, such as a near and a far one."""

    maps: tuple[TokenConv2d | TokenGridConv | TokenBlockConv | TokenChain, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N, D)."""
        out = self.maps[0](x)
        for token_map in self.maps[1:]:
            out = out + token_map(x)
        return out


@dataclass(frozen=True)
class TokenPrefix:
    """A convolution for all tokens but the first ``prefix`` (the class token of a ViT).

    As a matrix: prefix row p is e_p plus the mean of all convolved rows; the other rows are the
    convolution and do not see the prefix. No weights beyond the convolution's. Without other tokens
    the prefix stays as it is.
    """

    conv: TokenConv1d | TokenConv2d | TokenChain
    prefix: int

    def __call__(self, x: Tensor) -> Tensor:
        """(G, prefix + N, D) -> (G, prefix + N, D)."""
        if x.shape[1] == self.prefix:
            return x
        rest = self.conv(x[:, self.prefix :])
        return torch.cat([x[:, : self.prefix] + rest.mean(1, keepdim=True), rest], 1)


@dataclass(frozen=True)
class TokenMean:
    """Every one of ``tokens`` outputs is the mean token: rank 1 and free of the input's length.

    ``counts`` (G,): how many real tokens each sequence has, where padding is zero; None means all.
    """

    tokens: int
    counts: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N', D), a broadcast view."""
        total = x.sum(1, keepdim=True)
        # The mean of no token is zero, as that of masked ones alone.
        counts = max(x.shape[1], 1) if self.counts is None else self.counts.view(-1, 1, 1)
        return (total / counts).expand(-1, self.tokens, -1)


@dataclass(frozen=True)
class Pointwise:
    """``weight`` (D', D), the transposed right matrix as in ``torch.nn.Linear``; ``bias`` (D',)."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N, D')."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class ChannelLowRank:
    """``left`` (D, r) times ``right`` (r, D'); ``bias`` (D',)."""

    left: Tensor
    right: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(G, N, D) -> (G, N, D')."""
        out = (x @ self.left) @ self.right
        return out if self.bias is None else out + self.bias


def _check_grid_tokens(x: Tensor, index: GridIndex, name: str) -> None:
    # Not len(): a traced number of tokens would become a constant.
    count = index.cells.shape[0]
    if x.shape[0] != 1 or x.shape[1] != count:
        raise ValueError(
            f"{name} x: expected shape (1, {count}, D) as the index has it, got {tuple(x.shape)}"
        )


def _convolve(
    image: Tensor, weight: Tensor, bias: Tensor | None, groups: int, dilation: int = 1
) -> Tensor:
    """Same-size convolution of (G, D, H, W) with odd kernels and zero padding."""
    if 0 in image.shape:  # torch has no convolution of nothing
        return image
    padding = (weight.shape[2] // 2 * dilation, weight.shape[3] // 2 * dilation)
    # The CPU's gradient of a convolution bias is slow, that of an addition is not: 15 % of a step.
    # Never while tracing: a trace must not depend on whether gradients are recorded.
    recording = torch.is_grad_enabled() and not torch.jit.is_tracing()
    apart = bias is not None and bias.is_cpu and recording
    out = F.conv2d(image, weight, None if apart else bias, 1, padding, dilation, groups)
    return out + bias.to(out.dtype).view(-1, 1, 1) if bias is not None and apart else out


TokenConv = TokenConv1d | TokenConv2d | TokenGridConv | TokenChain
TokenMap = (
    TokenDense | TokenLowRank | TokenConv | TokenBlockConv | TokenSum | TokenPrefix | TokenMean
)
ChannelMap = Pointwise | ChannelLowRank
