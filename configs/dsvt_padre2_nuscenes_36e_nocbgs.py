"""DSVT with PADRe-2, the cheaper recipe: 36 epochs without CBGS, 16 samples per step, lr 3e-3.

tools/dist_train.sh configs/dsvt_padre2_nuscenes_36e_nocbgs.py 4 --amp --sync_bn torch
"""

_base_ = [
    "_base_/models/dsvt_pillar.py",
    "_base_/datasets/nuscenes_nocbgs.py",
    "_base_/schedules/onecycle_36e_nocbgs.py",
    "_base_/default_runtime.py",
]

model = dict(backbone=dict(mixer=dict(degree=2, impl="auto")))
