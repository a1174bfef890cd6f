"""Random PADRe structures of every kind of map, for the oracle and the property tests."""

import dataclasses

import torch

from padre3d.ops.padre import (
    ChannelLowRank,
    PadreWeights,
    Pointwise,
    TokenBlockConv,
    TokenCausalConv1d,
    TokenChain,
    TokenConv1d,
    TokenConv2d,
    TokenDense,
    TokenGridConv,
    TokenLowRank,
    TokenMean,
    TokenPrefix,
    TokenSum,
)
from padre3d.structures.grid_index import GridIndex


def moved(value, device):
    """Weights, or any part of them, on another device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return type(value)(**{name: moved(getattr(value, name), device) for name in names})
    return tuple(moved(part, device) for part in value) if isinstance(value, tuple) else value


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def random_grid(tokens, on_map, samples=2, ny=3, nx=4, seed=0):
    """An index of ``tokens`` tokens of which the first ``on_map`` have a cell of their own."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(samples * ny * nx, generator=generator, device="cpu")[:on_map]
    ids = drawn.sort().values.to(torch.get_default_device())
    coords = torch.stack([ids // (ny * nx), ids // nx % ny, ids % nx], 1)
    index = GridIndex.of(coords, samples, ny, nx)
    shape = (tokens - on_map,)
    pads = torch.randint(0, samples * ny * nx, shape, generator=generator, device="cpu")
    return GridIndex(torch.cat([index.cells, pads.to(ids.device)]), index.cell_to_pillar)


def random_grid_map(rng, channels, index, bias):
    dilation, kernel = rng.choice([1, 1, 2]), rng.choice([1, 3, 5])
    impl = rng.choice(["map", "neighbours"])

    def conv(height, width, bias=None):
        return TokenGridConv(leaf(channels, 1, height, width), index, bias, dilation, impl)

    near = conv(kernel, rng.choice([kernel, 3]), bias)
    kind = rng.random()
    if kind < 0.3:
        return TokenChain((conv(kernel, 1), conv(1, kernel, bias)))
    if kind < 0.5:
        far = TokenBlockConv(leaf(channels, 1, 3, rng.choice([1, 3])), index, rng.choice([1, 2, 3]))
        return TokenSum((near, far))
    return near


def random_token_map(rng, tokens, channels, size):
    kinds = "none dense low_rank depthwise causal grouped full image mean prefix"
    kind = rng.choice(kinds.split())
    bias = leaf(channels) if rng.random() < 0.5 else None
    kernel = rng.choice([1, 3, 5, 11])
    if kind == "none":
        return None
    if kind == "dense":
        return TokenDense(leaf(tokens, tokens), leaf(tokens) if bias is not None else None)
    if kind == "low_rank":
        return TokenLowRank(leaf(tokens, 2), leaf(2, tokens))
    if kind == "mean":
        return TokenMean(tokens)
    if isinstance(size, GridIndex) and kind in ("image", "grouped", "full", "depthwise"):
        return random_grid_map(rng, channels, size, bias)
    if isinstance(size, tuple) and kind == "depthwise":
        rows, columns = leaf(channels, 1, kernel, 1), leaf(channels, 1, 1, kernel)
        convs = (rows, size, None, channels, 2), (columns, size, bias, channels, 2)
        return TokenChain(tuple(TokenConv2d(*arguments) for arguments in convs))
    if isinstance(size, tuple) and kind in ("image", "grouped", "full"):
        groups = {"grouped": 2, "full": 1}.get(kind, channels)
        return TokenConv2d(leaf(channels, channels // groups, kernel, kernel), size, bias, groups)
    if kind == "prefix" and tokens > 2:
        return TokenPrefix(TokenConv1d(leaf(channels, 1, kernel), bias, channels), 2)
    if kind == "causal":
        return TokenCausalConv1d(leaf(channels, 1, kernel), bias, channels)
    groups = {"grouped": 2, "full": 1}.get(kind, channels)
    return TokenConv1d(leaf(channels, channels // groups, kernel), bias, groups)


def random_channel_map(rng, channels):
    kind = rng.choice(["none", "pointwise", "low_rank"])
    bias = leaf(channels) if rng.random() < 0.5 else None
    if kind == "none":
        return None
    if kind == "pointwise":
        return Pointwise(leaf(channels, channels), bias)
    return ChannelLowRank(leaf(channels, 2), leaf(2, channels), bias)


def random_resize(rng, tokens, channels):
    """U and V for an output of 3 tokens and 5 channels, or neither."""
    if rng.random() < 0.6:
        return None, None
    u = rng.choice(
        [TokenDense(leaf(3, tokens), leaf(3)), TokenLowRank(leaf(3, 2), leaf(2, tokens))]
    )
    v = rng.choice(
        [Pointwise(leaf(5, channels), leaf(5)), ChannelLowRank(leaf(channels, 2), leaf(2, 5))]
    )
    return u, v


def random_weights(rng, degree, tokens, channels, size):
    w_shapes = [None, (degree,), (degree, channels), (degree, tokens, channels)]
    w, last = rng.choice(w_shapes), rng.choice([None, (channels,), (tokens, channels)])
    u, v = random_resize(rng, tokens, channels)
    return PadreWeights(
        a=tuple(random_token_map(rng, tokens, channels, size) for _ in range(degree)),
        b=tuple(random_channel_map(rng, channels) for _ in range(degree)),
        c=tuple(random_token_map(rng, tokens, channels, size) for _ in range(degree - 1)),
        d=tuple(random_channel_map(rng, channels) for _ in range(degree - 1)),
        terms=rng.choice([None, (degree,), tuple(range(min(2, degree), degree + 1))]),
        w=None if w is None else leaf(*w),
        l=None if last is None else leaf(*last),
        u=u,
        v=v,
        normalise=rng.choice([None, None, "rms", "layer", "max"]),
        basis=rng.choice(["monomial", "monomial", "chebyshev", "legendre"]),
    )


def leaves(weights):
    maps = [*weights.a, *weights.b, *weights.c, *weights.d, weights.u, weights.v]
    maps += [m.conv for m in maps if isinstance(m, TokenPrefix)]
    maps += [part for m in maps if isinstance(m, (TokenChain, TokenSum)) for part in m.maps]
    tensors = [v for m in maps if m is not None for v in vars(m).values()]
    return [t for t in [*tensors, weights.w, weights.l] if isinstance(t, torch.Tensor)]
