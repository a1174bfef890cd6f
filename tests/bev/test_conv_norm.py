"""The folded convolution against convolution and batch normalisation one after the other."""

import pytest
import torch
from torch import nn

from padre3d.bev.conv_norm import conv_norm

CONVS = {
    "3 x 3": lambda: nn.Conv2d(6, 5, 3, 2, padding=1, bias=False),
    "1 x 1": lambda: nn.Conv2d(6, 5, 1, bias=False),
    "1 x 1, strided": lambda: nn.Conv2d(6, 5, 1, (2, 3), bias=False),
    "larger": lambda: nn.ConvTranspose2d(6, 5, 2, 2, bias=False),
}


def build(name):
    torch.manual_seed(0)
    conv, norm = CONVS[name](), nn.BatchNorm2d(5, eps=1e-3)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.1, 3)
    return conv.double(), norm.double(), torch.randn(2, 6, 8, 10, dtype=torch.float64)


@pytest.mark.parametrize("name", CONVS)
def test_evaluation_is_one_convolution(name, monkeypatch):
    conv, norm, x = build(name)
    norm.eval()
    expected = norm(conv(x))
    torch.testing.assert_close(conv_norm(conv, norm, x), expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        monkeypatch.setattr(norm, "forward", lambda *_: pytest.fail("a pass over the map"))
        torch.testing.assert_close(conv_norm(conv, norm, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONVS)
def test_training_uses_the_batch(name):
    conv, norm, x = build(name)
    before = norm.running_mean.clone()
    with torch.no_grad():
        got = conv_norm(conv, norm, x)
    assert not torch.equal(norm.running_mean, before)
    expected = nn.functional.batch_norm(
        conv(x), None, None, norm.weight, norm.bias, training=True, eps=norm.eps
    )
    torch.testing.assert_close(got, expected.detach())


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("size", [(8, 10), (7, 11)])
def test_gradients_are_those_of_the_layers_one_after_the_other(name, size):
    conv, norm, _ = build(name)
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    found = conv_norm(conv, norm, x)
    expected = norm(conv(x))
    weights = torch.randn_like(expected)
    for of in (x, conv.weight, norm.weight):
        got, wanted = (
            torch.autograd.grad((y * weights).sum(), of, retain_graph=True)[0]
            for y in (found, expected)
        )
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_a_strided_1_x_1_convolution_reads_only_its_cells(monkeypatch):
    conv, norm, x = build("1 x 1, strided")
    seen = []
    convolve = nn.functional.conv2d
    monkeypatch.setattr(
        nn.functional, "conv2d", lambda x, *rest: seen.append(x.shape) or convolve(x, *rest)
    )
    conv_norm(conv, norm, x)
    assert seen == [(2, 6, 4, 4)]
