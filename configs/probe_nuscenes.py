"""The per-pillar probe at full size on nuScenes: 0.3 m pillars, 8 layers of 128 channels.

python tools/probe.py configs/probe_nuscenes.py --device cuda --amp bf16 --out work_dirs/probe/full
"""

_base_ = ["probe_synthetic.py"]

data_root = "{{$NUSCENES_ROOT:data/nuscenes}}"
test_pipeline = [dict(type="LoadSweeps", num_sweeps=10), *_base_.test_pipeline[1:]]
train_dataset = dict(data_root=data_root)
val_dataset = dict(data_root=data_root)
train_frames = 2000
val_frames = 500

grid = dict(cell_m=(0.3, 0.3))
pillar_encoder = dict(filters=(128, 128))
backbone = dict(
    dim=128,
    num_blocks=4,
    ffn_dim=256,
    window=(30, 30),
    shifts=((0, 0), (15, 15)),
)

steps = 4000
batch_size = 4
