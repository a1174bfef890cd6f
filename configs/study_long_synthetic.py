"""The synthetic detector trained ten times as long: 16,000 steps of two frames, on 2,000 frames.

SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_long.py
"""

_base_ = ["dsvt_padre2_synthetic.py"]

max_epochs = 16
# 2,000 of the 2,440 frames of 61 training scenes, evenly spaced; 440 frames of 11 others are scored.
train_dataloader = dict(dataset=dict(indices=[i * 2440 // 2000 for i in range(2000)]))

# The same one-cycle schedule, stretched.
_stretch = max_epochs / _base_.max_epochs
param_scheduler = [
    dict(step, begin=step["begin"] * _stretch, end=step["end"] * _stretch)
    for step in _base_.param_scheduler
]
train_cfg = dict(max_epochs=max_epochs, val_begin=max_epochs + 1)
