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


@pytest.mark.parametrize(
    ("strides", "up_strides", "message"),
    [
        ((1,), (2,), "outputs no finer than the input, got 2.0 of it"),
        ((2,), (1.5,), "expected n or 1 / n with a whole n, got 1.5"),
        ((1,), (0.3,), "expected n or 1 / n with a whole n, got 0.3"),
        ((1,), (0,), "expected n or 1 / n with a whole n, got 0"),
    ],
)
def test_enlargements_that_fit_no_map(strides, up_strides, message):
    with pytest.raises(ValueError, match=message):
        ResidualBEVBackbone(4, (0,), strides, (4,), up_strides, (4,))


def test_sides_are_divided_by_strided_outputs_too():
    backbone = ResidualBEVBackbone(4, (0,), (1,), (4,), (0.5,), (4,))
    assert (backbone.stride, backbone.input_multiple) == (2, 2)
    with pytest.raises(ValueError, match="expected sides divisible by 2"):
        backbone(torch.randn(1, 4, 7, 8))
