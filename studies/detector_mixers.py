"""The full detector on the synthetic set: none, linear control, attention and PADRe, ten epochs.

Data: ``SYNTHETIC_ROOT`` names a prepared synthetic set of 72 scenes; every variant learns
from the same 320 of its training frames and is scored on its unseen scenes.

    python tools/make_synthetic.py --out data/synthetic72 --scenes 72 --seed 0
    python tools/create_data.py nuscenes --root-path data/synthetic72 --version v1.0-trainval
    SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_mixers.py
"""

from padre3d.study.detector import detector_study, mixer

STUDY = detector_study(
    "detector_mixers",
    "configs/study_synthetic.py",
    10,
    {
        "attention": mixer(type="set_attention", num_heads=8),
        "padre2": mixer(type="padre", degree=2, preset="sequence", kernel_size=11),
        "none": mixer(type="padre", degree=2, preset="sequence", kernel_size=1),
        "padre2_k63": mixer(type="padre", degree=2, preset="sequence", kernel_size=63),
        "padre2_grid5_block8": mixer(type="padre", degree=2, layout="grid", kernel_size=5, block=8),
        "padre2_grid11": mixer(type="padre", degree=2, layout="grid", kernel_size=11),
        "control": mixer(type="conv_control", degree=2, preset="sequence", kernel_size=11),
        "padre2_grid5": mixer(type="padre", degree=2, layout="grid", kernel_size=5),
        "padre3": mixer(type="padre", degree=3, preset="sequence", kernel_size=11),
    },
)
