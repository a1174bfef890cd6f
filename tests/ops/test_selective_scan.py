"""The state-space recurrence: against its definition, its closed form, and its approximation."""

import warnings

import pytest
import torch

from padre3d.ops.selective_scan import (
    discretise,
    doubling_recurrence,
    linear_recurrence,
    selective_scan,
)


def problem(length, channels=3, states=4):
    torch.manual_seed(length)
    x = torch.randn(2, length, channels, dtype=torch.float64)
    delta = 0.1 * torch.rand(2, length, channels, dtype=torch.float64)
    a = -(0.5 + torch.rand(channels, states, dtype=torch.float64))
    b, c = torch.randn(2, 2, length, states, dtype=torch.float64)
    return x, delta, a, b, c


@pytest.mark.parametrize("length", [1, 2, 3, 10, 49, 50, 51])
def test_recurrence_equals_the_loop(length, device):
    torch.manual_seed(0)
    decay = torch.rand(2, length, 3).double().to(device).requires_grad_()
    drive = torch.randn(2, length, 3).double().to(device).requires_grad_()
    state, expected = torch.zeros(2, 3).double().to(device), []
    for t in range(length):
        state = decay[:, t] * state + drive[:, t]
        expected.append(state)
    got = linear_recurrence(decay, drive)
    expected = torch.stack(expected, 1)
    torch.testing.assert_close(got, expected)
    cotangent = torch.randn_like(got)
    for g, h in zip(
        torch.autograd.grad(got, [decay, drive], cotangent),
        torch.autograd.grad(expected, [decay, drive], cotangent),
        strict=True,
    ):
        torch.testing.assert_close(g, h)


def test_recurrence_of_no_steps(device):
    none = torch.rand(2, 0, 3).double().to(device)
    assert linear_recurrence(none, none).shape == (2, 0, 3)


def test_lemma_2_closed_form():
    """Eq. 55: with constant matrices, y_t = sum_n C Abar^(t-n) Bbar x_n."""
    x, delta, a, b, c = problem(12, channels=1)
    delta, b, c = (v[:, :1].expand_as(v) for v in (delta, b, c))
    decay, _ = discretise(delta, a, b, x)
    _, unit = discretise(delta, a, b, torch.ones_like(x))
    expected = torch.zeros_like(x)
    for t in range(12):
        for n in range(t + 1):
            kernel = (c[:, 0] * decay[:, 0, 0] ** (t - n) * unit[:, 0, 0]).sum(-1, keepdim=True)
            expected[:, t] += kernel * x[:, n]
    torch.testing.assert_close(selective_scan(x, delta, a, b, c), expected)


def test_b_4_approximation_error_falls_with_the_square_of_the_step():
    """Eqs. 64-70: Abar = I + Delta A and Bbar = Delta B are wrong by O(Delta^2)."""
    x, delta, a, b, c = problem(40)
    errors = []
    for step in [0.2, 0.1, 0.05, 0.025, 0.0125]:
        exact = selective_scan(x, step * delta, a, b, c, "zoh")
        errors.append((selective_scan(x, step * delta, a, b, c, "euler") - exact).norm())
    ratios = [float(e / f) for e, f in zip(errors[:-1], errors[1:], strict=True)]
    assert all(3.5 < r < 4.5 for r in ratios)
    assert abs(ratios[-1] - 4) < 0.1 < abs(ratios[0] - 4)  # and tend to 4


def test_unknown_discretisation_is_named():
    with pytest.raises(ValueError, match="discretisation: expected one of"):
        selective_scan(*problem(3), "rk4")


def test_the_published_discretisation_is_between_the_two_of_the_paper():
    x, delta, a, b, c = problem(9)
    decay, drive = discretise(delta, a, b, x, "published")
    assert torch.equal(decay, discretise(delta, a, b, x, "zoh")[0])
    assert torch.equal(drive, discretise(delta, a, b, x, "euler")[1])
    default = selective_scan(x, delta, a, b, c)
    assert torch.equal(default, selective_scan(x, delta, a, b, c, "published"))


def test_euler_warns_where_it_diverges():
    x, delta, a, b, c = problem(50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective_scan(x, delta, a, b, c, "euler")
        assert selective_scan(x, 100 * delta, a, b, c).isfinite().all()
    with pytest.warns(UserWarning, match=r"'euler': expected steps Delta \|A\| <= 2, got up to"):
        assert selective_scan(x, 100 * delta, a, b, c, "euler").abs().max() > 1e9


@pytest.mark.parametrize("length", [1, 2, 3, 10, 64, 65])
def test_doubling_equals_the_loop(length):
    torch.manual_seed(0)
    decay, drive = torch.rand(2, length, 3).double(), torch.randn(2, length, 3).double()
    expected = linear_recurrence(decay, drive)
    torch.testing.assert_close(doubling_recurrence(decay, drive, 7), expected)
