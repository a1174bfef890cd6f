"""A detector whose BEV backbone is one level of two convolutions: context must come from tokens.

Data as for studies/detector_mixers.py.

    SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/detector_shallow.py
"""

from padre3d.study.detector import detector_study, mixer

STUDY = detector_study(
    "detector_shallow",
    "configs/study_shallow_synthetic.py",
    10,
    {
        "none": mixer(type="padre", degree=2, preset="sequence", kernel_size=1),
        "attention": mixer(type="set_attention", num_heads=8),
        "padre2": mixer(type="padre", degree=2, preset="sequence", kernel_size=11),
        "padre2_grid5": mixer(type="padre", degree=2, layout="grid", kernel_size=5),
        "padre2_grid11": mixer(type="padre", degree=2, layout="grid", kernel_size=11),
        "padre2_k63": mixer(type="padre", degree=2, preset="sequence", kernel_size=63),
        # Reach: means of blocks of 5.4 m in a 3 x 3 neighbourhood beside the near cells.
        "padre2_grid5_block8": mixer(type="padre", degree=2, layout="grid", kernel_size=5, block=8),
        # Reach along both axes: 31 x 1 cells, then 1 x 31, 20 m each.
        "padre2_grid31_separable": mixer(
            type="padre", degree=2, layout="grid", kernel_size=31, separable=True
        ),
        # Factors of equal scale, as attention's weights sum to one however many pillars are near.
        "padre2_grid11_layer": mixer(
            type="padre", degree=2, layout="grid", kernel_size=11, normalise="layer"
        ),
    },
)
