"""The cheaper BEV backbone of configs/dsvt_padre2_fast_nuscenes.py on the synthetic set.

Both detectors have the proportions of the nuScenes configs: ``default`` a first level at the
pillars' resolution, ``fast`` one of stride 2 that hands on 5/8 of the channels. (The small detector
of the other studies lies between them: stride 2, all channels.) The other rows give the pillars a
view of their neighbours before the map is made, where only occupied cells cost: a submanifold 3 x 3
convolution before every block (needs spconv), or PADRe on the pillar grid. Data as for
studies/detector_mixers.py.

    SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_fast.py
"""

from padre3d.study.detector import detector_study, mixer

FAST = {
    "model.bev_backbone.up_channels": (30, 30, 30),
    "model.head.in_channels": 90,
}

STUDY = detector_study(
    "detector_fast",
    "configs/study_synthetic.py",
    10,
    {
        "default": {
            "model.bev_backbone.strides": (1, 2, 2),
            "model.bev_backbone.up_strides": (0.5, 1, 2),
        },
        "fast": FAST,
        "fast_submconv": {**FAST, "model.backbone.local_descriptor": "submconv_each"},
        "fast_grid5": {**FAST, **mixer(type="padre", degree=2, layout="grid", kernel_size=5)},
    },
    baseline="default",
)
