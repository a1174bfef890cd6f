"""The reference nuScenes model: 0.3 m pillars, 4 blocks x 2 layers, residual BEV, TransFusion head."""

model = dict(
    type="PADReDetector",
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    grid=dict(range_m=(-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), cell_m=(0.3, 0.3)),
    pillar_encoder=dict(type="DynamicPillarEncoder", in_channels=5, filters=(128, 128)),
    backbone=dict(
        type="VoxelBackbone",
        dim=128,
        num_blocks=4,
        ffn_dim=256,
        window=(30, 30),
        shifts=((0, 0), (15, 15)),
        set_size=90,
        mixer=dict(type="padre", degree=2, preset="sequence", kernel_size=11),
    ),
    bev_backbone=dict(
        type="ResidualBEVBackbone",
        in_channels=128,
        layers=(1, 2, 2),
        strides=(1, 2, 2),
        channels=(128, 128, 256),
        up_strides=(0.5, 1, 2),
        up_channels=(128, 128, 128),
    ),
    head=dict(type="PADReTransFusionHead", in_channels=384, channels=128, num_proposals=200),
)
