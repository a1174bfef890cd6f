"""DSVT itself, multi-head set attention: the baseline (published: NDS 71.1, mAP 66.4).

tools/dist_train.sh configs/dsvt_nuscenes.py 8 --amp --sync_bn torch
"""

_base_ = ["dsvt_padre2_nuscenes.py"]

model = dict(backbone=dict(mixer=dict(_delete_=True, type="set_attention", num_heads=8)))
