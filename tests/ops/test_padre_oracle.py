"""The fast path against explicit float64 matrices: outputs and gradients, random structures."""

import itertools
import random

import pytest
import torch
from random_structures import leaf, leaves, moved, random_grid, random_weights

from padre3d.ops.padre import (
    PadreWeights,
    Pointwise,
    TokenConv1d,
    TokenConv2d,
    padre,
)
from padre3d.structures.grid_index import GridIndex


def gradients(out, inputs, cotangent):
    found = torch.autograd.grad(out, inputs, cotangent, allow_unused=True)
    return [torch.zeros_like(i) if g is None else g for g, i in zip(found, inputs, strict=True)]


def relative_error(got, expected):
    return (got.double() - expected.double()).norm() / (expected.double().norm() + 1e-12)


# length 1, shorter than the kernel, odd, even; two are also images of 3 x 3 and 2 x 4, the last
# three cells of a grid: of two samples, of full maps, with two tokens that are padding
SIZES = [(1, None), (5, None), (13, None), (9, (3, 3)), (8, (2, 4))]
ON_MAP = 10
SIZES += [(10, random_grid(10, 10)), (24, random_grid(24, 24)), (12, random_grid(12, ON_MAP))]
SEEDS = range(12)
CHANNELS = 4


def draw(seed, tokens, size):
    rng = random.Random(1000 * tokens + seed)
    torch.manual_seed(seed)
    batch = 1 if isinstance(size, GridIndex) else rng.choice([1, 3])
    return rng, batch, random_weights(rng, 1 + seed % 4, tokens, CHANNELS, size)


def test_the_draws_hold_every_map_at_every_place():
    """What the random structures of the next test cover, so that it is no matter of luck."""
    found = {name: set() for name in ("a", "b", "c", "d", "u", "v", "w", "l")}
    convolutions = set()
    for seed, (tokens, size) in itertools.product(SEEDS, SIZES):
        _, _, weights = draw(seed, tokens, size)
        for name in "abcd":
            found[name] |= {type(m).__name__ for m in getattr(weights, name)}
        for name in "uv":
            found[name].add(type(getattr(weights, name)).__name__)
        for name in "wl":
            value = getattr(weights, name)
            found[name].add(None if value is None else value.dim())
        convolutions |= {
            (m.weight.dim() - 2, m.weight.shape[1], m.weight.shape[-1])
            for m in (*weights.a, *weights.c)
            if isinstance(m, (TokenConv1d, TokenConv2d))
        }
    convs = {"TokenConv1d", "TokenCausalConv1d", "TokenConv2d", "TokenGridConv"}
    others = {"TokenDense", "TokenLowRank", "TokenMean", "TokenPrefix", "TokenChain", "TokenSum"}
    token_maps = {"NoneType", *convs, *others}
    channel_maps = {"NoneType", "Pointwise", "ChannelLowRank"}
    assert found["a"] == found["c"] == token_maps
    assert found["b"] == found["d"] == found["v"] == channel_maps
    assert found["u"] == {"NoneType", "TokenDense", "TokenLowRank"}
    assert found["w"] == {None, 1, 2, 3}  # absent, per degree, per channel, per token
    assert found["l"] == {None, 1, 2}
    # dimensions, channels per group (1 depthwise, 2 grouped, 4 full), kernel size
    assert {(n, g) for n, g, _ in convolutions} == {(n, g) for n in (1, 2) for g in (1, 2, 4)}
    assert {(n, k) for n, _, k in convolutions} == {(n, k) for n in (1, 2) for k in (1, 3, 5, 11)}


@pytest.mark.parametrize(("tokens", "size"), SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_eager_equals_explicit_matrices(seed, tokens, size, device):
    rng, batch, weights = draw(seed, tokens, size)
    weights = moved(weights, device)
    x = leaf(batch, tokens, CHANNELS).to(device)
    mask = None
    padding = isinstance(size, GridIndex) and size.cell_to_pillar.count_nonzero() < tokens
    if padding or rng.random() < 0.5:
        mask = (torch.rand(batch, tokens) < 0.7).to(device)
        mask[:, 0] = True
        if padding:
            mask[:, ON_MAP:] = False

    out = padre(x, weights, mask)
    expected = padre(x, weights, mask, impl="oracle")
    if padding and weights.u is None:  # what padding gets is arbitrary
        out, expected = out[:, :ON_MAP], expected[:, :ON_MAP]
    assert expected.dtype == torch.float64
    assert relative_error(out, expected) < 1e-5

    inputs = [x, *leaves(weights)]
    cotangent = torch.randn_like(out)
    got = gradients(out, inputs, cotangent)
    expected_gradients = gradients(expected, inputs, cotangent.double())
    scale = max(g.norm() for g in expected_gradients)
    for g, h in zip(got, expected_gradients, strict=True):
        assert (g - h).norm() <= 1e-4 * h.norm() + 1e-6 * scale


def test_hand_computed_degree_two():
    """Tokens 1, 2, 3 in one channel: A_1 sums neighbours, D_1 doubles, B_2 negates."""
    weights = PadreWeights(
        a=(TokenConv1d(torch.ones(1, 1, 3)), None),
        b=(None, Pointwise(torch.tensor([[-1.0]]))),
        c=(None,),
        d=(Pointwise(torch.tensor([[2.0]])),),
        terms=(2,),
    )
    x = torch.tensor([[[1.0], [2.0], [3.0]]])
    expected = torch.tensor([[[-6.0], [-24.0], [-30.0]]])  # -2 * (3, 6, 5) * (1, 2, 3)
    for impl in ("eager", "oracle"):
        torch.testing.assert_close(padre(x, weights, impl=impl).float(), expected)


def test_convolution_offsets_have_the_cross_correlation_sign():
    """Tap j of a kernel of width k reads the token at offset j - k // 2."""
    kernel = torch.tensor([[[0.0, 0.0, 1.0]]])
    weights = PadreWeights(a=(TokenConv1d(kernel),), b=(None,))
    x = torch.tensor([[[1.0], [2.0], [3.0]]])
    for impl in ("eager", "oracle"):
        assert padre(x, weights, impl=impl).flatten().tolist() == pytest.approx([2.0, 3.0, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(c=()), "d, d, d-1, d-1"),
        (dict(terms=(3,)), r"degrees in 1\.\.2"),
        (dict(terms=()), r"degrees in 1\.\.2"),
        (dict(basis="fourier"), "basis: expected one of"),
        (dict(normalise="batch"), "normalise: expected one of"),
        (dict(a=(TokenConv1d(torch.ones(1, 1, 4)), None)), "odd kernel sizes"),
    ],
)
def test_bad_weights_are_named(change, message):
    good = dict(a=(None, None), b=(None, None), c=(None,), d=(None,))
    with pytest.raises(ValueError, match=message):
        PadreWeights(**{**good, **change})


def test_bad_inputs_are_named():
    weights = PadreWeights(a=(None,), b=(None,))
    with pytest.raises(ValueError, match="padre x: expected shape"):
        padre(torch.zeros(3, 4), weights)
    with pytest.raises(ValueError, match="padre mask: expected shape"):
        padre(torch.zeros(2, 3, 4), weights, torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="padre impl: expected one of"):
        padre(torch.zeros(2, 3, 4), weights, impl="magic")
