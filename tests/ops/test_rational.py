"""Rational PADRe (appendix A.2): the formula, a denominator that cannot vanish, extreme inputs."""

import pytest
import torch

from padre3d.ops.padre import Pointwise, RationalWeights, TokenConv1d, rational_padre

DIM = 4


def weights(d, e, epsilon=0.1, dtype=torch.float64):
    torch.manual_seed(10 * d + e)

    def randn(*shape):
        return torch.randn(*shape, dtype=dtype, requires_grad=True)

    firsts = (0, d)
    return RationalWeights(
        a=tuple(
            TokenConv1d(randn(DIM, 1, 3), randn(DIM), DIM) if i in firsts else None
            for i in range(d + e)
        ),
        b=tuple(Pointwise(randn(DIM, DIM), randn(DIM)) for _ in range(d + e)),
        w=randn(d, DIM),
        v=randn(DIM),
        q=randn(e, DIM),
        p=randn(DIM),
        epsilon=epsilon,
    )


def literal(x, r):
    """Eqs. 15-20 as written, the denominator squared plus epsilon."""
    d = len(r.w)
    y = [b(x) if a is None else a(b(x)) for a, b in zip(r.a, r.b, strict=True)]
    numerator = r.v + sum(r.w[j] * torch.stack(y[: j + 1]).prod(0) for j in range(d))
    denominator = r.p + sum(r.q[k] * torch.stack(y[d : d + k + 1]).prod(0) for k in range(len(r.q)))
    return numerator / (denominator**2 + r.epsilon)


@pytest.mark.parametrize(("d", "e"), [(1, 1), (2, 1), (3, 2), (2, 3), (4, 1)])
def test_equals_the_equations_with_all_gradients(d, e):
    r = weights(d, e)
    x = torch.randn(2, 7, DIM, dtype=torch.float64, requires_grad=True)
    got, expected = rational_padre(x, r), literal(x, r)
    torch.testing.assert_close(got, expected)
    leaves = [x, r.w, r.v, r.q, r.p, *(m.weight for m in r.b), r.a[0].weight, r.a[d].bias]
    cotangent = torch.randn_like(got)
    for g, h in zip(
        torch.autograd.grad(got, leaves, cotangent),
        torch.autograd.grad(expected, leaves, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(g, h)


def test_a_vanishing_denominator_gives_the_numerator_over_epsilon():
    one, zero = torch.ones(1, 1), torch.zeros(1)
    r = RationalWeights((None, None), (None, None), one, zero, one, zero, epsilon=0.25)
    x = torch.zeros(1, 1, 1)
    assert rational_padre(x, r).item() == 0.0
    r = RationalWeights((None, None), (None, None), one, torch.ones(1), one, zero, epsilon=0.25)
    assert rational_padre(x, r).item() == 4.0


@pytest.mark.parametrize(("d", "e"), [(1, 1), (2, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e4, 1e10, 1e20, 1e30])
def test_values_and_gradients_stay_finite_at_extreme_inputs(d, e, scale):
    r = weights(d, e, dtype=torch.float32)
    x = (scale * torch.randn(2, 9, DIM)).requires_grad_()
    out = rational_padre(x, r)
    assert out.isfinite().all()
    leaves = [x, r.w, r.v, r.q, r.p, r.b[0].weight, r.b[d].weight, r.a[0].weight]
    for g in torch.autograd.grad(out.sum(), leaves):
        assert g.isfinite().all()


@pytest.mark.parametrize(("d", "e"), [(1, 1), (2, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("large", [1e5, 1e20, 1e30])
def test_factors_of_different_size_lose_neither_value_nor_gradient(d, e, large):
    """Every mixture of huge, ordinary and zero factors, float32 against float64 by the formula."""
    sizes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0, large])] * (d + e))
    y = sizes.view(1, len(sizes), d + e).requires_grad_()
    picks = tuple(Pointwise(row[None]) for row in torch.eye(d + e))
    r = RationalWeights(
        (None,) * (d + e), picks, torch.ones(d, 1), torch.ones(1), torch.ones(e, 1), torch.zeros(1)
    )
    exact = y.detach().double().requires_grad_()
    numerator = 1 + exact[..., :d].cumprod(-1).sum(-1)
    expected = numerator / (exact[..., d:].cumprod(-1).sum(-1) ** 2 + 0.1)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), exact)

    out = rational_padre(y, r)[..., 0]
    (grad,) = torch.autograd.grad(out.sum(), y)
    most = torch.finfo(torch.float32).max
    held = expected.abs() < most  # where the ratio is a float32 number
    torch.testing.assert_close(out.double()[held], expected[held], rtol=4e-6, atol=1e-37)
    assert out.isfinite().all()
    fits = held[..., None] & (expected_gradient.abs() < most**0.5)
    torch.testing.assert_close(grad.double()[fits], expected_gradient[fits], rtol=1e-5, atol=1e-37)
    assert grad.isfinite().all()
    assert (grad[~held] == 0).all()


def test_bad_weights_are_named():
    good = weights(2, 1)
    with pytest.raises(ValueError, match="expected d \\+ e = 3 maps a and b, got 2 and 3"):
        RationalWeights(good.a[:2], good.b, good.w, good.v, good.q, good.p)
    with pytest.raises(ValueError, match="epsilon: expected > 0, got 0"):
        RationalWeights(good.a, good.b, good.w, good.v, good.q, good.p, epsilon=0)
