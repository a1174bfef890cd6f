"""RowBatchNorm against the plain layer."""

import torch
from torch import nn

from padre3d.layers.norms import RowBatchNorm


def pair():
    torch.manual_seed(0)
    ours, plain = (
        RowBatchNorm(5, eps=1e-3, momentum=0.05),
        nn.BatchNorm1d(5, eps=1e-3, momentum=0.05),
    )
    for norm in (ours, plain):
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(-1, 2, 5))
            norm.bias.copy_(torch.linspace(3, -1, 5))
    return ours, plain


def test_counted_rows_equal_repeated_rows():
    ours, plain = pair()
    x = torch.randn(40, 5, requires_grad=True)
    counts = torch.randint(0, 4, (40,))
    weight = torch.randn(40, 5)
    repeated = torch.repeat_interleave(torch.arange(40), counts)
    result = ours(x, counts, int(counts.sum()))
    expected = plain(x[repeated])
    torch.testing.assert_close(result[repeated], expected)
    (gradient,) = torch.autograd.grad((result * weight)[repeated].sum(), x)
    (expected_gradient,) = torch.autograd.grad((expected * weight[repeated]).sum(), x)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
    for name, value in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value)
    x = torch.randn(7, 5)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x))


def test_affine_of_a_linear_map_equals_the_layer_behind_it():
    ours, plain = pair()
    x = torch.randn(40, 3) * torch.tensor([1.0, 20.0, 0.1]) + torch.tensor([50.0, -3.0, 0.0])
    matrix = torch.randn(5, 3, requires_grad=True)
    weight = torch.randn(40, 5)
    scale, shift = ours.affine_of_linear(x, matrix)
    result, expected = x @ matrix.T * scale + shift, plain(x @ matrix.T)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    leaves = [[matrix, norm.weight, norm.bias] for norm in (ours, plain)]
    gradients = torch.autograd.grad((result * weight).sum(), leaves[0])
    expected_gradients = torch.autograd.grad((expected * weight).sum(), leaves[1])
    for ours_, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours_, theirs, rtol=1e-3, atol=1e-3)
    for name, value in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value)
    scale, shift = ours.eval().affine_of_linear(x, matrix)
    torch.testing.assert_close(x @ matrix.T * scale + shift, plain.eval()(x @ matrix.T))


def test_plain_rows_equal_the_plain_layer():
    ours, plain = pair()
    x = torch.randn(40, 5)
    assert torch.equal(ours(x), plain(x))


def test_too_few_rows_use_the_running_statistics():
    ours, _ = pair()
    ours(torch.randn(40, 5))
    before = ours.running_mean.clone()
    x = torch.randn(1, 5)
    alone, counted = ours(x), ours(x, torch.tensor([1]), 1)
    assert ours(x[:0]).shape == (0, 5)
    assert torch.equal(ours.running_mean, before)
    expected = ours.eval()(x)
    torch.testing.assert_close(alone, expected)
    torch.testing.assert_close(counted, expected)
