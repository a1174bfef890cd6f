"""Learning rate and averaged weights of each mixer, so that none loses by its tuning.

The other studies use the rate 0.002 for all; a mixer whose best rate is another one shows it here.
"""

from padre3d.probe.study import ATTENTION, padre, probe_study

MIXERS = {
    "attention": ATTENTION,
    "padre2": padre(2),
    "padre3": padre(3),
    "padre2_grid5": padre(2, layout="grid", kernel_size=5),
}
RATES = (0.5e-3, 1e-3, 2e-3, 4e-3)

VARIANTS = {
    **{
        f"{name}_lr{rate:g}": {**mixer, "optimizer.lr": rate}
        for name, mixer in MIXERS.items()
        for rate in RATES
    },
    **{f"{name}_ema": {**mixer, "ema_decay": 0.99} for name, mixer in MIXERS.items()},
}

STUDY = probe_study("probe_rates", VARIANTS, baseline="attention_lr0.002", options=("{options}",))
