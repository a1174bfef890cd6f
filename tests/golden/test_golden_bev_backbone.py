"""The BEV backbone against the reference's, value by value."""

import pytest
import torch

from padre3d.bev import ResidualBEVBackbone
from padre3d.convert.keys import BEV_BACKBONE
from padre3d.convert.reference_stages import read_bev_backbone
from padre3d.convert.settings_reader import Settings

from .arrays import Golden, without_type


@pytest.fixture(scope="module")
def golden(arrays_dir, device):
    return Golden(arrays_dir / "bev_backbone_small.npz", device=device)


@pytest.fixture(scope="module")
def outputs(golden):
    section = Settings({"NAME": "BaseBEVResBackbone", **golden.config})
    settings, stride = read_bev_backbone(section)
    settings["in_channels"] = int(golden["input_channels"])
    backbone = ResidualBEVBackbone(**without_type(settings))
    assert section.problems == []
    assert backbone.stride == stride
    golden.load_into(backbone, BEV_BACKBONE)
    seen = {}
    for i, stage in enumerate(backbone.stages):
        stage.register_forward_hook(
            lambda m, args, out, i=i: seen.__setitem__(f"block{i}_out", out)
        )
    with torch.no_grad():
        seen["spatial_features_2d"] = backbone(golden["spatial_features"])
    return seen


@pytest.mark.parametrize("name", ["block0_out", "block1_out", "block2_out", "spatial_features_2d"])
def test_outputs(golden, outputs, name):
    torch.testing.assert_close(outputs[name], golden[name], rtol=0, atol=5e-5)
