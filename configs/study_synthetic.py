"""The synthetic detector of the accuracy studies: 320 training frames from as many scenes as there are.

SYNTHETIC_ROOT=data/synthetic60 python tools/study.py studies/detector_mixers.py
"""

_base_ = ["dsvt_padre2_synthetic.py"]

# Every sixth frame of 48 training scenes: more scenes teach more than more frames of the same ones.
train_dataloader = dict(dataset=dict(indices=list(range(0, 1920, 6))))
