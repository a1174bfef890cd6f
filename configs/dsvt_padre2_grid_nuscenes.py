"""DSVT with PADRe-2 on the pillar grid, the reference recipe (20 epochs, CBGS, 8 GPUs x 4).

    tools/dist_train.sh configs/dsvt_padre2_grid_nuscenes.py 8 --amp --sync_bn torch
    tools/dist_test.sh configs/dsvt_padre2_grid_nuscenes.py \\
        work_dirs/dsvt_padre2_grid_nuscenes/epoch_20.pth 8

The convolutions of PADRe run over 5 x 5 cells (1.5 m) of occupied pillars, as section 4.1 of the
paper has them over images; there is no token order and no position embedding. On fewer GPUs add
--auto-scale-lr: the rate is 5e-3 for 32 samples per step and scales with them.
"""

_base_ = [
    "_base_/models/dsvt_pillar.py",
    "_base_/datasets/nuscenes.py",
    "_base_/schedules/onecycle_20e.py",
    "_base_/default_runtime.py",
]

model = dict(
    backbone=dict(mixer=dict(degree=2, layout="grid", kernel_size=5), pos_embed=None),
)
