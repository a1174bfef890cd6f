"""From attention to PADRe on the synthetic set: fitted, fine-tuned, from scratch in equal steps.

Data as for studies/detector_mixers.py. The teacher is the packaged model with set attention, which
is seed 0 of that study's attention (tools/train.py configs/study_attention_synthetic.py); its ten
epochs are the measure: one epoch is 10 % and three are 30 % of its steps. Every variant learns from
the same frames. The checkpoint is not among the files that make results stale: after another
teacher remove the results.

    SYNTHETIC_ROOT=data/synthetic72 python tools/study.py studies/distill_synthetic.py
"""

from padre3d.study import Reuse, Step, Study
from padre3d.study.detector import METRICS, RENAME

TEACHER = "configs/study_attention_synthetic.py"
CHECKPOINT = "padre3d/models/attention_synthetic/weights.pth"
STUDENT = "configs/study_synthetic.py"
# The sequence form is the config's own.
FORMS = {
    "sequence": {},
    "grid": {
        "model.backbone.mixer": {"layout": "grid", "kernel_size": 5},
        "model.backbone.pos_embed": None,
    },
}
EPOCHS = {"10": 1, "30": 3}
RISE = 0.4  # share of the training in which the learning rate rises


def shortened(epochs):
    """The one-cycle schedule of a training from scratch over so many epochs."""
    peak = round(RISE * epochs, 3)
    bounds = {"begin": (0, peak, 0, peak), "end": (peak, epochs, peak, epochs)}
    return {
        "train_cfg.max_epochs": epochs,
        "train_cfg.val_begin": epochs + 1,
        **{f"param_scheduler.{i}.{k}": v for k, of in bounds.items() for i, v in enumerate(of)},
    }


FITTED = {f"{form}_fitted": {"epochs": 0, **of} for form, of in FORMS.items()}
TUNED = {
    f"{form}_tuned{share}": {"epochs": epochs, **of}
    for form, of in FORMS.items()
    for share, epochs in EPOCHS.items()
}
SCRATCH = {
    f"{form}_scratch{share}": {"epochs": epochs, **shortened(epochs), **of}
    for form, of in FORMS.items()
    for share, epochs in EPOCHS.items()
}
DISTILLED = {**FITTED, **TUNED}


def scored(name, config, checkpoint, variants, *options):
    """The step that scores a checkpoint with the devkit."""
    command = ["tools/test.py", config, checkpoint, "--work-dir", "{out}", "--bootstrap", "200"]
    command += ["--metrics-out", "{out}/metrics.json", *options]
    return Step(name, command, "metrics.json", only=tuple(variants))


STUDY = Study(
    name="distill_synthetic",
    variants={"teacher": {}, **DISTILLED, **SCRATCH},
    defaults={"randomness.seed": "{seed}"},
    seeds=(0, 1, 2),
    steps=[
        Step(
            "distill",
            [
                *("tools/distill.py", TEACHER, CHECKPOINT, STUDENT, "--out", "{out}"),
                *("--finetune-epochs", "{epochs}", "--seed", "{seed}", "--threads", "{threads}"),
                "{options}",
            ],
            "student.pth",
            only=tuple(DISTILLED),
            # One fit serves every number of epochs after it.
            reuse=Reuse(files=("fit.pt",), apart_from=("epochs",)),
        ),
        Step(
            "train",
            ["tools/train.py", STUDENT, "--work-dir", "{out}", "--resume", "{options}"],
            "epoch_{epochs}.pth",
            only=tuple(SCRATCH),
        ),
        scored("test_distilled", STUDENT, "{out}/student.pth", DISTILLED, "{options}"),
        scored("test_scratch", STUDENT, "{out}/epoch_{epochs}.pth", SCRATCH, "{options}"),
        scored("test_teacher", TEACHER, CHECKPOINT, ["teacher"], "{options}"),
    ],
    metrics=METRICS,
    rename=RENAME,
    baseline="teacher",
    inputs=(TEACHER, STUDENT, "configs/dsvt_padre2_synthetic.py"),
)
