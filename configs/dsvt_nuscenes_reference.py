"""DSVT with every behaviour of the reference implementation: for weights that its authors trained.

    python tools/convert_checkpoint.py REFERENCE.pth dsvt.pth --config configs/dsvt_nuscenes_reference.py
    python tools/test.py configs/dsvt_nuscenes_reference.py dsvt.pth

Published: NDS 71.1, mAP 66.4. What differs otherwise: docs/reference_differences.md.
"""

_base_ = ["dsvt_nuscenes.py"]

model = dict(backbone=dict(dsvt_compat=True), head=dict(dsvt_compat=True))
train_dataloader = dict(dataset=dict(dataset=dict(unknown_velocity=0.0)))
