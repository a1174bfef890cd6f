"""The synthetic detector trained ten times as long: 16,000 steps of two frames, on 2,000 frames.

SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_long.py
"""

_base_ = ["dsvt_padre2_synthetic.py"]

max_epochs = 16
# 2,000 of the 2,440 frames of 61 training scenes, evenly spaced; 440 frames of 11 others are scored.
train_dataloader = dict(dataset=dict(indices=[i * 2440 // 2000 for i in range(2000)]))

_rise = dict(begin=0, end=0.4 * max_epochs, by_epoch=True, convert_to_iter_based=True)
_fall = dict(begin=0.4 * max_epochs, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min_ratio=10, **_rise),
    dict(type="CosineAnnealingLR", eta_min_ratio=1e-3, **_fall),
    dict(type="CosineAnnealingMomentum", eta_min_ratio=0.85 / 0.95, **_rise),
    dict(type="CosineAnnealingMomentum", eta_min_ratio=1, **_fall),
]
train_cfg = dict(max_epochs=max_epochs, val_begin=max_epochs + 1)
