"""The synthetic detector of the accuracy studies: 320 training frames from as many scenes as there are.

SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_mixers.py
"""

_base_ = ["dsvt_padre2_synthetic.py"]

# 320 of the 2,440 frames of 61 training scenes, evenly spaced: more scenes teach more than more
# frames of the same ones. The 440 frames of 11 other scenes are scored.
train_dataloader = dict(dataset=dict(indices=[i * 2440 // 320 for i in range(320)]))
