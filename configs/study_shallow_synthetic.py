"""The detector of the studies with one level of two BEV convolutions: context must come from tokens.

SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_shallow.py
"""

_base_ = ["study_synthetic.py"]

model = dict(
    bev_backbone=dict(
        layers=(0,), strides=(2,), channels=(64,), up_strides=(1,), up_channels=(144,)
    ),
)
