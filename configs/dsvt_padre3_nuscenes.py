"""DSVT with PADRe-3 over the voxel sequence, the reference recipe (20 epochs, CBGS, 8 GPUs x 4).

    tools/dist_train.sh configs/dsvt_padre3_nuscenes.py 8 --amp --sync_bn torch
    tools/dist_test.sh configs/dsvt_padre3_nuscenes.py work_dirs/dsvt_padre3_nuscenes/epoch_20.pth 8

On fewer GPUs add --auto-scale-lr: the rate is 5e-3 for 32 samples per step and scales with them.
The paper gives no figure for degree 3 on nuScenes.
"""

_base_ = [
    "_base_/models/dsvt_pillar.py",
    "_base_/datasets/nuscenes.py",
    "_base_/schedules/onecycle_20e.py",
    "_base_/default_runtime.py",
]

model = dict(backbone=dict(mixer=dict(degree=3, impl="auto")))
