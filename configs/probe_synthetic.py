"""The per-pillar probe on the synthetic data set, in minutes on a CPU; see docs/probe.md.

python tools/probe.py configs/probe_synthetic.py --out work_dirs/probe/padre2
"""

_base_ = ["_base_/datasets/nuscenes_nocbgs.py", "_base_/default_runtime.py"]

data_root = "{{$SYNTHETIC_ROOT:data/synthetic}}"
# Three sweeps 0.2 s apart, as the small detector has them.
test_pipeline = [
    dict(type="LoadSweeps", num_sweeps=3, stride=4),
    *_base_.test_pipeline[1:],
]
train_dataset = dict(data_root=data_root)
val_dataset = dict(data_root=data_root)
# Evenly spaced over the frames; None takes all.
train_frames = 320
val_frames = 240
# Scenes of the training infos make up for those that the validation infos lack.
val_scenes = 10

grid = dict(range_m=(-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), cell_m=(0.675, 0.675))
pillar_encoder = dict(type="DynamicPillarEncoder", in_channels=5, filters=(64,))
backbone = dict(
    type="VoxelBackbone",
    dim=64,
    num_blocks=2,
    ffn_dim=128,
    window=(16, 16),
    shifts=((0, 0), (8, 8)),
    mixer=dict(type="padre", degree=2, preset="sequence", kernel_size=11),
)

steps = 600
batch_size = 2
optimizer = dict(type="AdamW", lr=2e-3, weight_decay=0.01, betas=(0.95, 0.99))
pct_start = 0.3
clip_norm = 10.0
# Nine pillars in ten are background.
background_weight = 0.3
# A car has hundreds of times the pillars of a bicycle. Unweighted, 600 steps leave the rare classes
# at an IoU of zero or at some chance value, and these rule the spread of the mean.
class_balance = 0.5
# Offsets are metres, velocities m/s: the weights bring all terms to a few tenths at the start. Size
# and velocity weigh least: sweeps and class give much of them away without context.
loss_weights = dict(offset=1.0, heading=0.5, log_size=0.2, velocity=0.05)
augmentation = dict(max_angle=0.39, flip_probability=0.5)
