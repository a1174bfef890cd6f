"""Half precision over 20,000 steps: the share of steps that are not finite must be zero.

Pillars of 2.7 m, which a step takes in a tenth of the time: what is asked is whether a number ever
leaves the range of float16, not how well the mixer does.
"""

from padre3d.probe.study import ATTENTION, padre, probe_study

MIXERS = {
    "attention": ATTENTION,
    "padre2": padre(2),
    "padre3": padre(3),
    "padre4": padre(4),
    "padre2_grid5": padre(2, layout="grid", kernel_size=5),
}
SMALL = {"steps": 20_000, "train_frames": 80, "val_frames": 40, "grid.cell_m": (2.7, 2.7)}

VARIANTS = {
    f"{name}_{amp}": {**mixer, **SMALL, "amp": amp}
    for name, mixer in MIXERS.items()
    for amp in ("fp16", "bf16")
}

STUDY = probe_study(
    "probe_precision", VARIANTS, baseline="attention_bf16", options=("--amp={amp}", "{options}")
)
