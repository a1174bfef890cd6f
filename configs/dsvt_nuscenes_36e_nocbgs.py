"""DSVT itself with the cheaper recipe: 36 epochs without CBGS, 16 samples per step, lr 3e-3.

tools/dist_train.sh configs/dsvt_nuscenes_36e_nocbgs.py 4 --amp --sync_bn torch
"""

_base_ = ["dsvt_padre2_nuscenes_36e_nocbgs.py"]

model = dict(backbone=dict(mixer=dict(_delete_=True, type="set_attention", num_heads=8)))
