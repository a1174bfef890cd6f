"""Set attention in the detector of the accuracy studies: the teacher of studies/distill_synthetic.py.

SYNTHETIC_ROOT=data/synthetic72 python tools/train.py configs/study_attention_synthetic.py
"""

_base_ = ["study_synthetic.py"]

model = dict(backbone=dict(mixer=dict(_delete_=True, type="set_attention", num_heads=8)))
