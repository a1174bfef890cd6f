"""Near convergence: ten times the steps on six times the frames, then the official scores.

A run takes hours and survives any stop, of which it loses ten minutes at most.

    SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_long.py
"""

from padre3d.study.detector import detector_study, mixer

STUDY = detector_study(
    "detector_long",
    "configs/study_long_synthetic.py",
    16,
    {
        "attention": mixer(type="set_attention", num_heads=8),
        "padre2": mixer(type="padre", degree=2, preset="sequence", kernel_size=11),
        "padre2_grid11": mixer(type="padre", degree=2, layout="grid", kernel_size=11),
    },
    seeds=(0, 1),
)
