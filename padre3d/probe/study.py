"""Studies of the probe: what their files in ``studies/`` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from padre3d.study import Study

CONFIG = "configs/probe_synthetic.py"
METRICS = (
    "mean_iou",
    "car_iou",
    "centre_m",
    "heading_rad",
    "size_log",
    "far_mean_iou",
    "long_recall",
    "long_centre_m",
    "train_loss",
    "ms_per_step",
    "nonfinite_share",
)
# Where context counts most: few points far away, and long objects of which a pillar sees little.
RENAME = {
    "by_distance/over_40m/mean_iou": "far_mean_iou",
    "by_length/over_6m/recall": "long_recall",
    "by_length/over_6m/centre_m": "long_centre_m",
}
ATTENTION = {"mixer": {"type": "set_attention", "num_heads": 8}}


def padre(degree: int = 2, preset: str = "sequence", **more: Any) -> dict[str, Any]:
    """Variant: a PADRe mixer."""
    return {"mixer": {"type": "padre", "degree": degree, "preset": preset, **more}}


def with_backbone(variant: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A variant with further settings of the backbone."""
    return {**variant, "backbone": {**variant.get("backbone", {}), **changes}}


def probe_study(
    name: str,
    variants: Mapping[str, Mapping[str, Any]],
    baseline: str = "attention",
    options: Sequence[str] = (),
) -> Study:
    """A study of the small probe over seeds 0, 1 and 2.

    The data root is the config's: ``data/synthetic``, or the environment's ``SYNTHETIC_ROOT``.

    Args:
        name: of the study.
        variants: by name a ``mixer`` and, if need be, settings of the ``backbone`` and any other
            key of the config.
        baseline: variant that differences refer to.
        options: further arguments of the probe; ``"{options}"`` where variants set other keys.
    """
    return Study(
        name=name,
        variants={variant: dict(changes) for variant, changes in variants.items()},
        defaults={"backbone": {}},
        command=[
            "tools/probe.py",
            CONFIG,
            "--out={out}",
            "--seed={seed}",
            "--threads={threads}",
            "--mixer={mixer}",
            "--backbone={backbone}",
            *options,
        ],
        seeds=(0, 1, 2),
        metrics=METRICS,
        rename=RENAME,
        baseline=baseline,
        inputs=(CONFIG,),
    )
