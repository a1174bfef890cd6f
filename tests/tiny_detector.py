"""A small detector with real statistics, and clouds for it."""

import numpy as np
import torch
from torch import nn

MODEL = dict(
    type="PADReDetector",
    grid=dict(range_m=(-9.6, -9.6, -5, 9.6, 9.6, 3), cell_m=(0.6, 0.6)),
    pillar_encoder=dict(type="DynamicPillarEncoder", in_channels=5, filters=(16, 32)),
    backbone=dict(
        type="VoxelBackbone",
        dim=32,
        num_blocks=2,
        ffn_dim=48,
        window=(8, 8),
        shifts=((0, 0), (4, 4)),
        set_size=10,
        mixer=dict(type="padre", kernel_size=5),
    ),
    bev_backbone=dict(
        type="ResidualBEVBackbone",
        in_channels=32,
        layers=(0, 0),
        strides=(2, 2),
        channels=(32, 32),
        up_strides=(1, 2),
        up_channels=(16, 16),
    ),
    head=dict(
        type="PADReTransFusionHead",
        in_channels=32,
        channels=32,
        num_heads=4,
        num_proposals=40,
        ffn_channels=32,
        branch_channels=16,
        local_radius=3,
    ),
)

GRID_MIXER = dict(type="padre", layout="grid", kernel_size=3, dilation=2)
# A mixer for every layer, or settings of the backbone.
MIXERS = {
    "padre": dict(type="padre", kernel_size=5),
    "attention": dict(type="set_attention", num_heads=4),
    "padre on sets": dict(type="padre", preset="paper", kernel_size=5),
    "grid": dict(mixer=GRID_MIXER, pos_embed=None),
    "grid and sequence": dict(
        mixers=[dict(GRID_MIXER, degree=3, separable=True), dict(type="padre", kernel_size=5)]
    ),
}


def build_detector(mixer: dict, seed: int = 0) -> nn.Module:
    from padre3d.plugin import MODELS

    torch.manual_seed(seed)
    settings = {"mixer": mixer} if "type" in mixer else mixer
    config = {**MODEL, "backbone": {**MODEL["backbone"], **settings}}
    detector = MODELS.build(config)
    for module in detector.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return detector.eval()


def make_cloud(points: int, seed: int = 0) -> np.ndarray:
    """Clusters on a plane, some points out of range."""
    random = np.random.default_rng(seed)
    centres = random.uniform(-10, 10, (30, 2))
    xy = centres[random.integers(0, 30, points)] + random.normal(0, 1, (points, 2))
    z = random.normal(-1, 0.5, points)
    rest = [random.uniform(0, 255, points), random.choice([0.0, 0.05, 0.1], points)]
    return np.column_stack([xy, z, *rest]).astype(np.float32)
