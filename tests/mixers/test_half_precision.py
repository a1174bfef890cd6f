"""float16: masked tokens and large numbers leave real tokens finite, and near those of float32."""

import copy

import pytest
import torch

from padre3d.layers.half_precision import full_precision, unit_length
from padre3d.mixers import PADRe, build_mixer
from padre3d.ops.padre.eager import normalise

UNIT_LENGTH = ["hydra", "castling", "linear_angular"]


@pytest.fixture
def tokens():
    torch.manual_seed(0)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    return torch.randn(2, 9, 16), mask


@pytest.mark.parametrize("name", UNIT_LENGTH)
def test_masked_tokens_in_half_precision(name, tokens):
    x, mask = tokens
    mixer = build_mixer(dict(type=name), dim=16)
    expected = mixer(x, mask=mask)[mask]
    half = copy.deepcopy(mixer).half()
    out = half(x.half(), mask=mask)[mask]
    assert (out.float() - expected).abs().max() < 0.02 * expected.abs().max()
    out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in half.parameters())


@pytest.mark.parametrize("name", UNIT_LENGTH)
def test_masked_tokens_can_be_differentiated_twice(name, tokens):
    x, mask = tokens
    mixer = build_mixer(dict(type=name), dim=16).double()
    x = x.double().requires_grad_()
    (first,) = torch.autograd.grad(mixer(x, mask=mask)[mask].sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()
    assert second.abs().max() > 0


def test_unit_length():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e4, 4e4]])
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]])
    torch.testing.assert_close(unit_length(x), expected)
    torch.testing.assert_close(unit_length(x.half()), expected.half())


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_normalised_factors_with_large_numbers(kind):
    torch.manual_seed(0)
    y = torch.randn(1, 3, 128)
    y[0, 1, 5] = 300.0
    expected = normalise(y, kind)
    out = normalise(y.half(), kind)
    assert out.dtype == torch.float16
    torch.testing.assert_close(out.float(), expected, atol=2e-3, rtol=2e-3)
    mixer = PADRe(32, kernel_size=3, normalise=kind)
    x = 400 * torch.randn(1, 6, 32)
    wanted, found = mixer(x), copy.deepcopy(mixer).half()(x.half()).float()
    assert (found - wanted).abs().max() < 0.02 * wanted.abs().max()


@pytest.mark.parametrize("focus", [4, 6])
def test_large_powers_of_focused_attention(focus, tokens):
    x, mask = tokens
    mixer = build_mixer(dict(type="focused_linear", num_heads=2, focus=focus), dim=16)
    out = mixer(x, mask=mask)[mask]
    exact = copy.deepcopy(mixer).double()(x.double(), mask=mask)[mask]
    torch.testing.assert_close(out.double(), exact, atol=1e-4, rtol=1e-4)
    out.sum().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters() if p.grad is not None)


def test_devices_without_autocast():
    with full_precision(torch.empty(1, device="meta")):
        pass
    x = torch.empty(2, 5, 16, device="meta")
    for name in ("sima", "focused_linear", "enhanced_linear"):
        assert build_mixer(dict(type=name), dim=16).to("meta")(x).shape == x.shape
