"""The BEV backbone beyond the reference arrays: checks and equivariance."""

import pytest
import torch

from padre3d.bev import ResidualBEVBackbone

SMALL = dict(in_channels=3, channels=(4, 5, 6), up_channels=(2, 3, 4))


@torch.no_grad()
def test_axes_are_not_exchanged():
    """With kernels symmetric in x and y, transposing the map transposes the result."""
    torch.manual_seed(0)
    backbone = ResidualBEVBackbone(**SMALL).eval()
    for parameter in backbone.parameters():
        if parameter.dim() == 4:
            parameter.copy_((parameter + parameter.transpose(2, 3)) / 2)
    bev = torch.randn(1, 3, 16, 24)
    result = backbone(bev)
    assert result.shape == (1, 9, 8, 12)
    torch.testing.assert_close(backbone(bev.transpose(2, 3)), result.transpose(2, 3))


def test_stride_follows_from_the_strides():
    assert ResidualBEVBackbone(**SMALL).stride == 2
    fine = ResidualBEVBackbone(up_strides=(1, 2, 4), **SMALL)
    assert fine.stride == 1
    assert fine(torch.zeros(2, 3, 8, 12)).shape == (2, 9, 8, 12)


def test_wrong_settings_and_maps_are_named():
    with pytest.raises(ValueError, match="lists of one length"):
        ResidualBEVBackbone(layers=(1, 2))
    with pytest.raises(ValueError, match="one resolution"):
        ResidualBEVBackbone(up_strides=(1, 1, 2))
    backbone = ResidualBEVBackbone(**SMALL)
    with pytest.raises(ValueError, match=r"B, 3, H, W.*\(1, 4, 8, 8\)"):
        backbone(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match=r"divisible by 4.*\(8, 10\)"):
        backbone(torch.zeros(1, 3, 8, 10))


@pytest.mark.parametrize("vectors", ["AVX2", "AVX512"])
def test_memory_format_of_a_training_changes_no_value(monkeypatch, vectors):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
    torch.manual_seed(0)
    model = ResidualBEVBackbone(8, (1, 1), (2, 2), (8, 8), (1, 2), (4, 4)).double()
    seen = []
    model.stages[0].register_forward_pre_hook(lambda _, x: seen.append(x[0].is_contiguous()))
    x = torch.randn(2, 8, 16, 16, dtype=torch.float64)
    expected = torch.autograd.grad(model(x).square().sum(), model.parameters())
    channels_last = x.contiguous(memory_format=torch.channels_last)
    found = torch.autograd.grad(model(channels_last).square().sum(), model.parameters())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        model(channels_last)
    assert seen == [True, vectors == "AVX2", False]
