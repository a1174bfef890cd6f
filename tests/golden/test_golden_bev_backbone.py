"""The BEV backbone against the reference's, value by value."""

import pytest
import torch

from padre3d.bev import ResidualBEVBackbone
from padre3d.convert.keys import BEV_BACKBONE

from .arrays import Golden


@pytest.fixture(scope="module")
def golden(golden_dir, device):
    return Golden(golden_dir / "bev_backbone_small.npz", device=device)


@pytest.fixture(scope="module")
def outputs(golden):
    config = golden.config
    backbone = ResidualBEVBackbone(
        int(golden["input_channels"]),
        config["LAYER_NUMS"],
        config["LAYER_STRIDES"],
        config["NUM_FILTERS"],
        config["UPSAMPLE_STRIDES"],
        config["NUM_UPSAMPLE_FILTERS"],
    )
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
