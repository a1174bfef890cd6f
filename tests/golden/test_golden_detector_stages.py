"""The tiny reference detector, points to BEV features at full grid size, stage by stage."""

import pytest
import torch

from padre3d.backbone import VoxelBackbone
from padre3d.bev import ResidualBEVBackbone, scatter_to_map
from padre3d.convert.keys import MODULES, rename
from padre3d.geometry import PillarGrid
from padre3d.pillars import DynamicPillarEncoder

from .arrays import Golden, pillars_from_reference


@pytest.fixture(scope="module")
def golden(golden_dir):
    return Golden(golden_dir / "detector_tiny.npz")


@pytest.fixture(scope="module")
def stages(golden, golden_dir):
    config = golden.config
    vfe, voxel, bev = (config[name] for name in ("VFE", "BACKBONE_3D", "BACKBONE_2D"))
    layer = voxel["INPUT_LAYER"]
    grid = PillarGrid(golden["point_cloud_range"].tolist(), golden["voxel_size"][:2].tolist())
    modules = {
        "vfe.": DynamicPillarEncoder(grid, 5, vfe["NUM_FILTERS"]),
        "backbone_3d.": VoxelBackbone(
            grid,
            dim=voxel["d_model"][0],
            num_blocks=layer["set_info"][0][1],
            ffn_dim=voxel["dim_feedforward"][0],
            mixer=dict(type="set_attention", num_heads=voxel["nhead"][0]),
            window=layer["window_shape"][0][:2],
            shifts=[shift[:2] for shift in layer["shifts_list"][0]],
            set_size=layer["set_info"][0][0],
            reference=True,
        ),
        "backbone_2d.": ResidualBEVBackbone(
            voxel["d_model"][0],
            bev["LAYER_NUMS"],
            bev["LAYER_STRIDES"],
            bev["NUM_FILTERS"],
            bev["UPSAMPLE_STRIDES"],
            bev["NUM_UPSAMPLE_FILTERS"],
        ),
    }
    checkpoint = torch.load(golden_dir / "detector_tiny.pth", weights_only=True)
    for prefix, module in modules.items():
        module.load_state_dict(rename(checkpoint["model_state"], MODULES[prefix], prefix))
    return [module.eval() for module in modules.values()]


@torch.no_grad()
def test_every_stage_from_the_points(golden, stages):
    encoder, backbone, bev_backbone = stages
    pillars = encoder([golden["points"][:, 1:]])
    expected, rows = pillars_from_reference(
        golden["stage/pillar_features"], golden["stage/voxel_coords"], 1
    )
    assert torch.equal(pillars.coords, expected.coords)
    torch.testing.assert_close(pillars.features, expected.features, rtol=1e-5, atol=1e-5)
    mixed = backbone(pillars)
    close = dict(rtol=1e-5, atol=5e-5)
    torch.testing.assert_close(mixed.features[rows], golden["stage/backbone_3d_out"], **close)
    bev = scatter_to_map(mixed, encoder.grid.ny, encoder.grid.nx)
    torch.testing.assert_close(bev, golden["stage/spatial_features"], **close)
    result = bev_backbone(bev)
    torch.testing.assert_close(result, golden["stage/spatial_features_2d"], **close)
