"""Cross-PADRe (appendix A.1): Eqs. 11-14, cross-terms, lengths that differ, masks."""

import pytest
import torch

from padre3d.mixers import CrossPADRe
from padre3d.ops.padre import PadreWeights, Pointwise, TokenDense, TokenMean, cross_padre

DIM = 4


def inputs(*lengths):
    torch.manual_seed(0)
    return [torch.randn(2, n, DIM, dtype=torch.float64) for n in lengths]


def random_weights(lengths, order, **kwargs):
    torch.manual_seed(1)
    steps = (None,) * (len(order) - 1)
    return PadreWeights(
        a=tuple(TokenDense(torch.randn(lengths[0], lengths[m]).double()) for m in order),
        b=tuple(Pointwise(torch.randn(DIM, DIM).double()) for _ in order),
        c=steps,
        d=steps,
        **kwargs,
    )


def test_the_papers_example_a_a_b():
    """Eqs. 12-14: Y1(a), then Y1(a) Y2(a), then Y1(a) Y2(a) Y3(b)."""
    xs, order = inputs(5, 7), (0, 0, 1)
    w = random_weights((5, 7), order)
    y = [a.weight @ (xs[m] @ b.weight.T) for a, b, m in zip(w.a, w.b, order, strict=True)]
    expected = y[0] + y[0] * y[1] + y[0] * y[1] * y[2]
    torch.testing.assert_close(cross_padre(xs, order, w), expected)


@pytest.mark.parametrize(
    ("order", "degrees"), [((0, 1), (1, 1)), ((0, 0, 1), (2, 1)), ((1, 0, 2, 1), (1, 2, 1))]
)
def test_degree_in_each_input(order, degrees):
    xs = inputs(6, 3, 8)[: max(order) + 1]
    w = random_weights((6, 3, 8), order, terms=(len(order),))
    scales = [2.0, 3.0, 5.0][: len(xs)]
    scaled = cross_padre([s * x for s, x in zip(scales, xs, strict=True)], order, w)
    factor = torch.tensor([s**k for s, k in zip(scales, degrees, strict=True)]).prod()
    torch.testing.assert_close(scaled, factor.double() * cross_padre(xs, order, w))


@pytest.mark.parametrize("order", [(0, 0, 0), (1, 1), (0, 1), (0, 2, 1)])
def test_bad_sequences_are_named(order):
    w = random_weights((5, 5), (0, 0, 1))
    with pytest.raises(ValueError, match="cross order: expected"):
        cross_padre(inputs(5, 5), order, w)
    with pytest.raises(ValueError, match="expected at least two inputs"):
        CrossPADRe(DIM, ("aaa",))


def test_lengths_that_do_not_meet_are_named():
    w = PadreWeights((None, None), (None, None), (None,), (None,))
    with pytest.raises(ValueError, match="Y_2: expected shape"):
        cross_padre(inputs(5, 7), (0, 1), w)


def test_mean_link_is_the_mean_of_real_tokens():
    x = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert TokenMean(2)(x[:, :2]).flatten().tolist() == [2.0, 2.0]
    x[:, 2] = 0
    assert TokenMean(2, torch.tensor([2]))(x).flatten().tolist() == [2.0, 2.0]


@pytest.mark.parametrize("link", ["mean", "same"])
def test_module_ignores_padding_of_every_input(link):
    torch.manual_seed(0)
    module = CrossPADRe(DIM, ("aab", "abb"), kernel_size=3, link=link).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    a, b = inputs(6, 6)
    alone = module([a, b])
    pad = torch.full((2, 3, DIM), 7.0, dtype=torch.float64)
    mask = torch.tensor([[True] * 6 + [False] * 3] * 2)
    padded = module([torch.cat([x, pad], 1) for x in (a, b)], [mask, mask])
    torch.testing.assert_close(padded[:, :6], alone)


def test_module_has_cross_terms():
    """The mixed second difference in a and b vanishes for a sum f(a) + g(b), not here."""
    module = CrossPADRe(DIM, ("ab",), kernel_size=3).double()
    a, b = inputs(6, 9)
    mixed = module([a, b]) - module([-a, b]) - module([a, -b]) + module([-a, -b])
    torch.testing.assert_close(mixed, 4 * module([a, b]))
    assert mixed.norm() > 0.1
    with pytest.raises(ValueError, match="expected 2 inputs, got 1"):
        module([a])
