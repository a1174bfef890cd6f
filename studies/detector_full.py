"""The full detector with its first BEV level at the pillars' resolution, as for nuScenes.

The small detector of studies/detector_mixers.py begins with stride 2 to be trained in half an hour;
with all cells (0.675 m) it scores far better, and takes more than twice the time. Data as for
studies/detector_mixers.py.

    SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_full.py
"""

from padre3d.study.detector import detector_study, mixer

FULL = {
    "model.bev_backbone.strides": (1, 2, 2),
    "model.bev_backbone.up_strides": (0.5, 1, 2),
}

STUDY = detector_study(
    "detector_full",
    "configs/study_synthetic.py",
    10,
    {
        "none": {**FULL, **mixer(type="padre", degree=2, preset="sequence", kernel_size=1)},
        "attention": {**FULL, **mixer(type="set_attention", num_heads=8)},
        # The config's own mixer: the run that studies/detector_fast.py calls default.
        "padre2": FULL,
        "padre2_k63": {**FULL, **mixer(type="padre", degree=2, preset="sequence", kernel_size=63)},
        "padre2_grid11": {**FULL, **mixer(type="padre", degree=2, layout="grid", kernel_size=11)},
    },
)
