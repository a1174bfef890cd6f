"""Small frames and a probe that trains in a second, for the tests of the probe."""

import numpy as np

from padre3d.probe.frames import Frame
from padre3d.probe.settings import ProbeSettings

RANGE_M = (-8.0, -8.0, -5.0, 8.0, 8.0, 3.0)


def small_frame(seed: int) -> Frame:
    """Three boxes of two classes with 40 points each, and 150 points on the ground."""
    rng = np.random.default_rng(seed)
    centres = np.array([[-4, -4], [4, -3], [0, 4]]) + rng.uniform(-1, 1, (3, 2))
    yaws, speeds = rng.uniform(-3, 3, 3), rng.uniform(0, 3, 3)
    sizes = np.array([[4.0, 2.0, 1.5], [3.8, 1.8, 1.6], [0.8, 0.7, 1.8]])
    velocities = speeds[:, None] * np.stack([np.cos(yaws), np.sin(yaws)], 1)
    velocities[1] = np.nan
    boxes = np.column_stack([centres, np.full(3, -1.0), sizes, yaws, velocities])
    clouds = [np.column_stack([rng.uniform(-8, 8, (150, 2)), np.full(150, -1.8)])]
    for centre, size, yaw in zip(centres, sizes, yaws, strict=True):
        local = rng.uniform(-0.5, 0.5, (40, 3)) * size
        turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        clouds.append(local @ turn + [*centre, -1.0])
    xyz = np.concatenate(clouds)
    points = np.column_stack([xyz, rng.random((len(xyz), 2))])
    return Frame(points.astype(np.float32), boxes.astype(np.float32), np.array([0, 0, 1]))


def settings(steps: int = 6, seed: int = 0, amp: str | None = None, **backbone) -> ProbeSettings:
    mixer = dict(type="padre", degree=2, preset="sequence", kernel_size=3)
    network = dict(dim=16, num_blocks=1, ffn_dim=16, window=(4, 4), shifts=((0, 0),), mixer=mixer)
    return ProbeSettings(
        grid=dict(range_m=RANGE_M, cell_m=(1.0, 1.0)),
        pillar_encoder=dict(type="DynamicPillarEncoder", in_channels=5, filters=(16,)),
        backbone=dict(network, type="VoxelBackbone", **backbone),
        class_names=("car", "pedestrian", "cone"),
        optimizer=dict(type="AdamW", lr=2e-3, weight_decay=0.01, betas=(0.95, 0.99)),
        pct_start=0.3,
        steps=steps,
        batch_size=2,
        clip_norm=10.0,
        background_weight=0.3,
        class_balance=0.5,
        loss_weights=dict(offset=1.0, heading=0.5, log_size=0.2, velocity=0.05),
        augmentation=dict(max_angle=0.39, flip_probability=0.5),
        seed=seed,
        amp=amp,
    )


def small_frames() -> list[Frame]:
    return [small_frame(seed) for seed in range(5)]
