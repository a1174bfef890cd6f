"""Studies of the whole detector: training and official scores of each variant and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from padre3d.study.spec import Step, Study

METRICS = (
    *("nds", "map", "mate", "mase", "maoe", "mave"),
    *("nds_low", "nds_high", "nds_std", "map_low", "map_high", "frames"),
)
RENAME = {
    "NDS": "nds",
    "mAP": "map",
    "mATE": "mate",
    "mASE": "mase",
    "mAOE": "maoe",
    "mAVE": "mave",
    "NDS_low": "nds_low",
    "NDS_high": "nds_high",
    "NDS_std": "nds_std",
    "mAP_low": "map_low",
    "mAP_high": "map_high",
    "frames": "frames",
}


def mixer(**settings: Any) -> dict[str, Any]:
    """Variant: this mixer in place of the config's."""
    return {"model.backbone.mixer": {"_delete_": True, **settings}}


def detector_study(
    name: str,
    config: str,
    epochs: int,
    variants: Mapping[str, Mapping[str, Any]],
    baseline: str = "attention",
    *,
    launcher: Sequence[str] = (),
    extra: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> Study:
    """Train each variant from scratch and score it with the devkit, with intervals over frames.

    Args:
        name: of the study.
        config: config file of the detector.
        epochs: of the training; the last checkpoint is scored.
        variants: overrides of the config by variant name, see :func:`mixer`.
        baseline: variant that differences refer to.
        launcher: what starts several processes, in front of the script, such as ``("torchrun",
            "--nproc_per_node=8")``; scripts then get ``--launcher pytorch``.
        extra: further arguments of the training, such as ``("--amp",)``.
        defaults: overrides of all variants.
        seeds: one training of each variant per seed.
    """
    several = ("--launcher", "pytorch") if launcher else ()
    checkpoint = f"epoch_{epochs}.pth"
    train = ["tools/train.py", config, "--work-dir", "{out}", "--resume", *extra, *several]
    test = [
        *("tools/test.py", config, f"{{out}}/{checkpoint}", "--work-dir", "{out}"),
        *("--metrics-out", "{out}/metrics.json", "--bootstrap", "200", *several),
    ]
    return Study(
        name=name,
        variants=variants,
        defaults={"randomness.seed": "{seed}", **(defaults or {})},
        seeds=seeds,
        steps=[
            Step("train", [*launcher, *train, "{options}"], checkpoint),
            Step("test", [*launcher, *test, "{options}"], "metrics.json"),
        ],
        metrics=METRICS,
        rename=RENAME,
        baseline=baseline,
        inputs=(config,),
    )
