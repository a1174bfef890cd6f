"""Lemma 1, Eq. 8 and the linear cost of section 3.6 as properties of random structures."""

import dataclasses
import itertools
import math
import random

import pytest
import torch
from random_structures import random_weights
from torch.utils.flop_counter import FlopCounterMode

from padre3d.analysis.costs import map_counts
from padre3d.mixers import build_mixer
from padre3d.ops.padre import PadreWeights, TokenChain, TokenPrefix, eager, padre

CHANNELS, TOKENS = 4, 9


def to_double(value):
    if isinstance(value, torch.Tensor):
        return value.detach().double()
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **{k: to_double(v) for k, v in vars(value).items()})
    if isinstance(value, tuple):
        return tuple(to_double(v) for v in value)
    return value


def polynomial(seed, degree, **changes):
    """Random float64 weights of a polynomial: no normalisation, same output shape."""
    torch.manual_seed(seed)
    weights = random_weights(random.Random(seed), degree, TOKENS, CHANNELS, (3, 3))
    changes = {"normalise": None, "u": None, "v": None, **changes}
    return to_double(dataclasses.replace(weights, **changes))


def without_biases(weights):
    def strip_one(m):
        if isinstance(m, TokenPrefix):
            return dataclasses.replace(m, conv=strip_one(m.conv))
        if isinstance(m, TokenChain):
            return TokenChain(tuple(map(strip_one, m.maps)))
        return dataclasses.replace(m, bias=None) if getattr(m, "bias", None) is not None else m

    def strip(maps):
        return tuple(map(strip_one, maps))

    maps = {name: strip(getattr(weights, name)) for name in "abcd"}
    return dataclasses.replace(weights, **maps)


def powers(x, weights):
    return eager.recurrence(eager.linear_terms(x, weights, None), weights, None)


def tokens():
    return torch.randn(2, TOKENS, CHANNELS, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(12))
def test_lemma_1_each_z_is_homogeneous_of_its_degree(seed):
    weights = without_biases(polynomial(seed, 5, basis="monomial"))
    x = tokens()
    for t in (-2.0, 0.5, 3.0):
        for i, z in enumerate(powers(x, weights), start=1):
            scaled = powers(t * x, weights)[i - 1]
            assert z.norm() > 0
            assert (scaled - t**i * z).norm() < 1e-12 * scaled.norm()


def test_biases_break_homogeneity():
    weights = polynomial(3, 3, basis="monomial")
    assert any(getattr(m, "bias", None) is not None for m in weights.a + weights.b)
    x = tokens()
    z, scaled = powers(x, weights)[-1], powers(2 * x, weights)[-1]
    assert (scaled - 8 * z).norm() > 1e-3 * scaled.norm()


def finite_difference(values):
    """The n-th forward difference of n + 1 equidistant values."""
    n = len(values) - 1
    return sum((-1) ** (n - j) * math.comb(n, j) * v for j, v in enumerate(values))


@pytest.mark.parametrize("basis", ["monomial", "chebyshev", "legendre"])
@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_eq_8_the_output_is_a_polynomial_of_exactly_that_degree(degree, basis):
    """Along a line the (d+1)-th difference vanishes and the d-th does not."""
    for seed in range(3):
        weights = polynomial(seed, degree, basis=basis, terms=None)
        start, direction = tokens(), tokens()
        values = [padre(start + t * direction, weights) for t in range(degree + 2)]
        last = finite_difference(values[:-1])
        assert last.norm() > 1e-3
        rounding = 1e-13 * 2**degree * max(v.norm() for v in values)
        assert finite_difference(values).norm() < rounding < 1e-3 * last.norm()


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_the_top_difference_is_the_leading_polynomial(degree):
    """Delta^d Z_d along v is d! Z_d(v), because Z_d is homogeneous."""
    weights = without_biases(polynomial(7, degree, basis="monomial"))
    start, direction = tokens(), tokens()
    values = [powers(start + t * direction, weights)[-1] for t in range(degree + 1)]
    expected = math.factorial(degree) * powers(direction, weights)[-1]
    torch.testing.assert_close(finite_difference(values), expected)


@pytest.mark.parametrize(
    ("basis", "function"),
    [
        ("chebyshev", torch.special.chebyshev_polynomial_t),
        ("legendre", torch.special.legendre_polynomial_p),
    ],
)
def test_identity_maps_give_the_orthogonal_polynomials(basis, function):
    degree = 7
    nothing = (None,) * degree
    weights = PadreWeights(nothing, nothing, nothing[1:], nothing[1:], basis=basis)
    x = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64).view(1, 31, 1)
    for i, z in enumerate(powers(x, weights), start=1):
        torch.testing.assert_close(z, function(x, i))


LENGTHS = [2**n for n in range(10, 19, 2)]  # 1k to 256k tokens


@pytest.mark.parametrize("preset", ["paper", "text", "sequence"])
@pytest.mark.parametrize("degree", [2, 3, 4])
def test_multiplications_per_token_do_not_depend_on_the_length(preset, degree):
    per_token = flops_per_token(dict(type="padre", preset=preset, degree=degree))
    assert len(set(per_token)) == 1
    assert per_token[0] > 0


def test_attention_fails_the_same_count():
    per_token = flops_per_token(dict(type="self_attention", num_heads=1))
    assert per_token[-1] > 50 * per_token[0]


def flops_per_token(cfg):
    counts = []
    with torch.device("meta"):
        mixer = build_mixer(cfg, 32)
        for length in LENGTHS:
            with FlopCounterMode(display=False) as counter:
                mixer(torch.empty(1, length, 32))
            counts.append(counter.get_total_flops() / length)
    return counts


@pytest.mark.parametrize("preset", ["paper", "text", "sequence"])
def test_a_profiler_sees_linear_cost_and_memory(preset):
    """Operations (products and sums of elements too) and bytes allocated per token, while it runs.

    From 1k to 256k tokens; the slope of log(cost) over log(length) is 1.
    """
    mixer = build_mixer(dict(type="padre", preset=preset, degree=3), 8)
    operations, allocated = [], []
    for length in (2**10, 2**14, 2**18):
        x = torch.randn(1, length, 8)
        with (
            torch.profiler.profile(profile_memory=True, with_flops=True) as profile,
            torch.no_grad(),
        ):
            mixer(x)
        operations.append(sum(event.flops or 0 for event in profile.events()))
        allocated.append(sum(max(0, event.self_cpu_memory_usage) for event in profile.events()))
    dense, convolutions = map_counts(mixer.structure)
    assert operations[0] >= 2**10 * 2 * (dense * 8**2 + convolutions * 11 * 8)
    assert allocated[0] > 2**10 * 8 * 4
    for costs in (operations, allocated):
        slopes = [math.log2(b / a) / 4 for a, b in itertools.pairwise(costs)]
        assert slopes == pytest.approx([1, 1], abs=0.01)
