"""The oracle: every map written out as one explicit matrix, in float64, by its definition.

A map that mixes tokens and channels is a matrix on the flattened input; here it is the array
``M[m, c, n, d]``: what output token m, channel c takes from input token n, channel d. Built entry
by entry from the definition of each map, so nothing is shared with the fast path but the weights.
Slow and quadratic in N: small inputs only. Differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.ops.padre.maps import (
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
    TokenMean,
    TokenPrefix,
    TokenSum,
)
from padre3d.ops.padre.weights import PadreWeights
from padre3d.structures.grid_index import GridIndex


def padre(x: Tensor, weights: PadreWeights, mask: Tensor | None) -> Tensor:
    """Eqs. 1-7, one sequence at a time; returns float64."""
    with x.device:  # where the matrices are made
        keep = torch.ones(x.shape[:2]) if mask is None else mask
        return torch.stack([_one(row, weights, keep[g]) for g, row in enumerate(x.double())])


def _one(x: Tensor, weights: PadreWeights, keep: Tensor) -> Tensor:
    """x (N, D) -> O (F, E)."""
    degree = weights.degree
    keep_matrix = torch.diag(keep.to(x))

    y = {}
    for i in range(1, degree + 1):
        a, b = weights.a[i - 1], weights.b[i - 1]
        y[i] = _normalised(_left(a, keep_matrix, _right(x, b)), weights.normalise)

    z = {0: torch.ones_like(y[1]), 1: y[1]}
    for i in range(1, degree):
        c, d = weights.c[i - 1], weights.d[i - 1]
        product = _left(c, keep_matrix, _right(z[i], d)) * y[i + 1]
        if weights.basis == "chebyshev":
            z[i + 1] = 2 * product - z[i - 1]
        elif weights.basis == "legendre":
            z[i + 1] = ((2 * i + 1) * product - i * z[i - 1]) / (i + 1)
        else:
            z[i + 1] = product

    p = torch.zeros_like(z[degree])
    for i in weights.terms or range(1, degree + 1):
        p = p + (1.0 if weights.w is None else weights.w[i - 1].double()) * z[i]
    if weights.l is not None:
        p = p + weights.l.double()
    return _left(weights.u, keep_matrix, _right(p, weights.v))


def _left(token_map: TokenMap | None, keep_matrix: Tensor, x: Tensor) -> Tensor:
    """``A diag(keep) X``; without a map there is nothing to keep out."""
    if token_map is None:
        return x
    if isinstance(token_map, TokenChain):
        for factor in token_map.maps:
            x = _left(factor, keep_matrix, x)
        return x
    if isinstance(token_map, TokenSum):
        return torch.stack([_left(part, keep_matrix, x) for part in token_map.maps]).sum(0)
    matrix, bias = token_matrix(token_map, x.shape[0], x.shape[1])
    return torch.einsum("mcnd,nd->mc", matrix, keep_matrix @ x) + bias


def _right(x: Tensor, channel_map: ChannelMap | None) -> Tensor:
    """``X B + b``."""
    if channel_map is None:
        return x
    matrix, bias = channel_matrix(channel_map)
    return x @ matrix + bias


def _normalised(y: Tensor, kind: str | None) -> Tensor:
    if kind is None:
        return y
    if kind == "max":
        return y / y.abs().max(1, keepdim=True).values.clamp(min=1e-6)
    if kind == "layer":
        y = y - y.mean(1, keepdim=True)
    return y / (y.square().mean(1, keepdim=True) + 1e-6).sqrt()


def channel_matrix(channel_map: ChannelMap) -> tuple[Tensor, Tensor | float]:
    """(B, bias) of a channel map: B is (D, D')."""
    if isinstance(channel_map, Pointwise):
        matrix = channel_map.weight.double().T
    elif isinstance(channel_map, ChannelLowRank):
        matrix = channel_map.left.double() @ channel_map.right.double()
    else:
        raise TypeError(f"not a channel map: {type(channel_map).__name__}")
    return matrix, 0.0 if channel_map.bias is None else channel_map.bias.double()


def token_matrix(token_map: TokenMap, tokens: int, channels: int) -> tuple[Tensor, Tensor | float]:
    """(M, bias) of a token map: M is (N', D, N, D), the bias is added to (N', D)."""
    if isinstance(token_map, TokenDense):
        matrix = _same_for_every_channel(token_map.weight.double(), channels)
        return matrix, 0.0 if token_map.bias is None else token_map.bias.double()[:, None]
    if isinstance(token_map, TokenLowRank):
        product = token_map.left.double() @ token_map.right.double()
        return _same_for_every_channel(product, channels), 0.0
    if isinstance(token_map, TokenMean) and token_map.counts is None:
        mean = torch.full((token_map.tokens, tokens), 1 / tokens, dtype=torch.float64)
        return _same_for_every_channel(mean, channels), 0.0
    if isinstance(token_map, TokenPrefix):
        return _prefix_matrix(token_map, tokens, channels)
    if isinstance(token_map, TokenChain):
        return _chain_matrix(token_map, tokens, channels)
    if isinstance(token_map, TokenSum):
        parts = [token_matrix(part, tokens, channels) for part in token_map.maps]
        return torch.stack([m for m, _ in parts]).sum(0), sum(b for _, b in parts)
    if isinstance(token_map, TokenBlockConv):
        return _block_matrix(token_map), 0.0
    if isinstance(token_map, TokenCausalConv1d):
        return _causal_matrix(token_map, tokens, channels)
    if isinstance(token_map, TokenConv1d):
        positions = [(0, 0, n) for n in range(tokens)]
        weight = token_map.weight.double().unsqueeze(2)
    elif isinstance(token_map, TokenConv2d):
        positions = [(0, n // token_map.size[1], n % token_map.size[1]) for n in range(tokens)]
        weight = token_map.weight.double()
    elif isinstance(token_map, TokenGridConv):
        positions = _grid_positions(token_map.index)
        weight = token_map.weight.double()
    else:
        raise TypeError(f"not a token map: {type(token_map).__name__}")
    bias = 0.0 if token_map.bias is None else token_map.bias.double()
    groups = channels if isinstance(token_map, TokenGridConv) else token_map.groups
    dilation = 1 if isinstance(token_map, TokenConv1d) else token_map.dilation
    matrix = _convolution_matrix(weight, positions, groups, dilation)
    if isinstance(token_map, TokenGridConv):
        keep = _on_the_map(token_map.index).to(matrix)
        matrix = torch.einsum("m,mcnd,n->mcnd", keep, matrix, keep)
    return matrix, bias


def _grid_positions(index: GridIndex) -> list[tuple[int, int, int]]:
    """(sample, y, x) of each token."""
    _, ny, nx = index.cell_to_pillar.shape
    return [(c // (ny * nx), c // nx % ny, c % nx) for c in index.cells.tolist()]


def _on_the_map(index: GridIndex) -> Tensor:
    """(N,) which tokens a cell of the map refers to: the others are padding."""
    referred = set(index.cell_to_pillar.flatten().tolist())
    return torch.tensor([n + 1 in referred for n in range(len(index.cells))])


def _block_matrix(block_conv: TokenBlockConv) -> Tensor:
    """``M[m, c, n, c] = weight[c, offset of the blocks] / tokens in n's block``."""
    index, side = block_conv.index, block_conv.side
    keep = _on_the_map(index)
    blocks = [(b, y // side, x // side) for b, y, x in _grid_positions(index)]
    tokens, weight = len(blocks), block_conv.weight.double()
    present = [block for block, on_map in zip(blocks, keep.tolist(), strict=True) if on_map]
    sizes = [max(1, present.count(block)) for block in blocks]
    matrix = _convolution_matrix(weight, blocks, len(weight), 1)
    return matrix * (keep / torch.tensor(sizes)).to(matrix).view(1, 1, tokens, 1)


def _chain_matrix(chain: TokenChain, tokens: int, channels: int) -> tuple[Tensor, Tensor | float]:
    """The product of the factors, and the sum of their biases after the factors behind them."""
    matrix = _same_for_every_channel(torch.eye(tokens, dtype=torch.float64), channels)
    bias = torch.zeros(tokens, channels, dtype=torch.float64)
    for factor in chain.maps:
        left, of_factor = token_matrix(factor, tokens, channels)
        matrix = torch.einsum("mcke,kend->mcnd", left, matrix)
        bias = torch.einsum("mcnd,nd->mc", left, bias) + of_factor
    return matrix, bias


def _causal_matrix(
    conv: TokenCausalConv1d, tokens: int, channels: int
) -> tuple[Tensor, Tensor | float]:
    """Row m of the causal convolution is the centred one's of k // 2 tokens before."""
    shift = conv.weight.shape[2] // 2
    centred = TokenConv1d(conv.weight, conv.bias, conv.groups)
    matrix, bias = token_matrix(centred, tokens + shift, channels)
    return matrix[:tokens, :, shift:], bias


def _prefix_matrix(
    token_map: TokenPrefix, tokens: int, channels: int
) -> tuple[Tensor, Tensor | float]:
    """Prefix rows are the identity plus the mean row of the convolution of the other tokens."""
    first = token_map.prefix
    inner, bias = token_matrix(token_map.conv, tokens - first, channels)
    matrix = inner.new_zeros(tokens, channels, tokens, channels)
    matrix[first:, :, first:] = inner
    for p in range(first):
        matrix[p, :, first:] = inner.mean(0)
        matrix[p, :, p] = torch.eye(channels, dtype=torch.float64)
    return matrix, bias


def _same_for_every_channel(matrix: Tensor, channels: int) -> Tensor:
    return torch.einsum("mn,cd->mcnd", matrix, torch.eye(channels, dtype=torch.float64))


def _convolution_matrix(
    weight: Tensor, positions: list[tuple[int, int, int]], groups: int, dilation: int
) -> Tensor:
    """``M[m, c, n, d] = weight[c, d in the group, offset]`` where n lies at that offset from m.

    Positions are (sample, row, column); nothing mixes between samples.
    """
    channels, per_group, rows, columns = weight.shape
    tokens = len(positions)
    matrix = weight.new_zeros(tokens, channels, tokens, channels)
    for m, (sample, row, column) in enumerate(positions):
        for n, (other, other_row, other_column) in enumerate(positions):
            i, between_rows = divmod(other_row - row, dilation)
            j, between_columns = divmod(other_column - column, dilation)
            i, j = i + rows // 2, j + columns // 2
            on_a_tap = other == sample and not between_rows and not between_columns
            if not (on_a_tap and 0 <= i < rows and 0 <= j < columns):
                continue
            for c in range(channels):
                first = c // (channels // groups) * per_group
                matrix[m, c, n, first : first + per_group] = weight[c, :, i, j]
    return matrix
