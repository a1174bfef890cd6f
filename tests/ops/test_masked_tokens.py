"""What padding tokens hold, NaN or infinity, reaches neither an output nor a gradient."""

import math

import pytest
import torch

from padre3d.mixers import CrossPADRe
from padre3d.ops.padre import PadreWeights, Pointwise, RationalWeights, padre, rational_padre

DIM, TOKENS = 4, 6
BAD = (math.nan, math.inf)


@pytest.fixture
def mask():
    mask = torch.ones(2, TOKENS, dtype=torch.bool)
    mask[0, 3:] = mask[1, 0] = False
    return mask


def tokens(mask, value):
    torch.manual_seed(0)
    x = torch.randn(2, TOKENS, DIM).masked_fill(~mask.unsqueeze(-1), value)
    return x.requires_grad_()


def outcome(run, parameters, x, mask):
    """All outputs, and the gradients of the real tokens' sum."""
    out = run(x)
    loss = out[mask].square().sum()
    return [out, *torch.autograd.grad(loss, [x, *parameters], allow_unused=True)]


def check_same(run, parameters, mask, value):
    good, bad = (outcome(run, parameters, tokens(mask, v), mask) for v in (0.0, value))
    assert len(parameters) > 0
    assert [g is None for g in good] == [b is None for b in bad]
    pairs = [(g, b) for g, b in zip(good, bad, strict=True) if g is not None]
    assert [bool(b.isfinite().all()) for _, b in pairs] == [True] * len(pairs)
    torch.testing.assert_close([b for _, b in pairs], [g for g, _ in pairs])


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("impl", ["eager", "oracle"])
def test_padre(mask, value, impl):
    maps = [torch.randn(DIM, DIM, requires_grad=True) for _ in range(4)]
    b, d = (tuple(Pointwise(m) for m in part) for part in (maps[:2], maps[2:3]))
    weights = PadreWeights(a=(None, None), b=b, c=(None,), d=d)
    check_same(lambda x: padre(x, weights, mask, impl=impl), maps[:3], mask, value)


@pytest.mark.parametrize("value", BAD)
def test_rational_padre(mask, value):
    maps = [torch.randn(DIM, DIM, requires_grad=True) for _ in range(3)]
    rows = torch.randn(5, DIM)
    weights = RationalWeights(
        a=(None,) * 3,
        b=tuple(map(Pointwise, maps)),
        w=rows[:2],
        v=rows[2],
        q=rows[3:4],
        p=rows[4],
    )
    check_same(lambda x: rational_padre(x, weights, mask), maps, mask, value)


@pytest.mark.parametrize("value", BAD)
def test_cross_padre(mask, value):
    mixer = CrossPADRe(DIM, ("aab",), kernel_size=3)
    other = tokens(mask, value).detach()

    def run(x):
        return mixer((x, other), (mask, mask))

    out, *gradients = outcome(run, list(mixer.parameters()), tokens(mask, value), mask)
    assert out.isfinite().all()
    assert [g.isfinite().all().item() for g in gradients if g is not None] != []
    assert all(g.isfinite().all() for g in gradients if g is not None)
