"""The detector of the studies with PADRe-2 on the pillar grid: 5 x 5 cells near, means of blocks far.

The variant ``padre2_grid5_block8`` of studies/detector_mixers.py as a config of its own.
"""

_base_ = ["study_synthetic.py"]

model = dict(
    backbone=dict(
        mixer=dict(_delete_=True, type="padre", degree=2, layout="grid", kernel_size=5, block=8),
    ),
)
