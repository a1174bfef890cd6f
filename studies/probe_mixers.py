"""Which mixer carries context: the probe on every mixer, with and without a local convolution.

``none`` is PADRe-2 with kernels of one token: each pillar on its own. ``control`` has the maps of
PADRe-2 without the product. Rows with ``grid`` convolve over the cells' neighbours in the plane.

    python tools/study.py studies/probe_mixers.py
    python tools/probe.py --gate studies/results/probe_mixers.jsonl
"""

from padre3d.probe.study import ATTENTION, padre, probe_study, with_backbone

NONE = padre(kernel_size=1)
CONTROL = {"mixer": {"type": "conv_control"}}

VARIANTS = {
    "none": NONE,
    "attention": ATTENTION,
    # The windows here hold about 30 pillars, so two thirds of a set of 90 are repeats.
    "attention_set36": with_backbone(ATTENTION, set_size=36),
    "control": CONTROL,
    "padre2": padre(2),
    "padre3": padre(3),
    "padre4": padre(4),
    "padre2_paper": padre(2, "paper"),
    "padre3_paper": padre(3, "paper"),
    "padre2_text": padre(2, "text"),
    "hyena": {"mixer": {"type": "hyena"}},
    "mamba": {"mixer": {"type": "mamba"}},
    "sima": {"mixer": {"type": "sima"}},
    "padre2_k31": padre(2, kernel_size=31),
    "padre2_k63": padre(2, kernel_size=63),
    "padre2_grid5": padre(2, layout="grid", kernel_size=5),
    "padre2_grid11": padre(2, layout="grid", kernel_size=11),
    # Means of blocks of 8 x 8 cells, 5.4 m, bring what lies three blocks around.
    "padre2_grid5_block8": padre(2, layout="grid", kernel_size=5, block=8),
    "padre3_grid5": padre(3, layout="grid", kernel_size=5),
    "control_grid5": {"mixer": {"type": "conv_control", "layout": "grid", "kernel_size": 5}},
    "none_submconv": with_backbone(NONE, local_descriptor="submconv"),
    "padre2_submconv": with_backbone(padre(2), local_descriptor="submconv"),
    "padre2_submconv_each": with_backbone(padre(2), local_descriptor="submconv_each"),
    # Row and column order side by side in every block, not one after the other.
    "padre2_parallel": with_backbone(padre(2), parallel=True),
    "attention_submconv": with_backbone(ATTENTION, local_descriptor="submconv"),
    "padre2_grid11_submconv": with_backbone(
        padre(2, layout="grid", kernel_size=11), local_descriptor="submconv"
    ),
}

STUDY = probe_study("probe_mixers", VARIANTS)
