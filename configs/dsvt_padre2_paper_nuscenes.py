"""DSVT with PADRe-2 run per DSVT set, as the paper measured it (Table 4: NDS 71.1, mAP 66.0).

tools/dist_train.sh configs/dsvt_padre2_paper_nuscenes.py 8 --amp --sync_bn torch
"""

_base_ = ["dsvt_padre2_nuscenes.py"]

model = dict(backbone=dict(layout="set", mixer=dict(preset="paper", impl="eager")))
