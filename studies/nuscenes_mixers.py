"""nuScenes: attention, PADRe-2 over the sequence and on the pillar grid, three seeds, 8 GPUs.

One command with the data prepared (README, section nuScenes); results go to
studies/results/nuscenes_mixers.jsonl, ``--report`` prints the table.

    python tools/study.py studies/nuscenes_mixers.py --nice 0
"""

from padre3d.study.detector import detector_study, mixer

STUDY = detector_study(
    "nuscenes_mixers",
    "configs/dsvt_padre2_nuscenes_36e_nocbgs.py",
    36,
    {
        "attention": mixer(type="set_attention", num_heads=8),
        "padre2": mixer(type="padre", degree=2, preset="sequence", kernel_size=11),
        "padre2_grid5": mixer(type="padre", degree=2, layout="grid", kernel_size=5),
    },
    launcher=("torchrun", "--nproc_per_node=8"),
    extra=("--amp", "--sync_bn", "torch"),
)
