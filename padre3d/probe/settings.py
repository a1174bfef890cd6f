"""What decides a probe's result, read from a config file and the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

AMP_TYPES = ("fp16", "bf16")
# What padre3d.probe.frames reads of a config.
DATA_NAMES = (
    *("train_dataset", "val_dataset", "test_pipeline"),
    *("train_frames", "val_frames", "val_scenes"),
)
# Fields that are options of the command line.
OPTION_NAMES = ("seed", "amp")
LOSS_NAMES = {"offset", "heading", "log_size", "velocity"}


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of one training.

    Attributes:
        grid: pillar grid.
        pillar_encoder: config of the pillar encoder.
        backbone: config of the backbone with its mixer.
        class_names: names in label order.
        optimizer: class name in torch.optim as ``type``, and its arguments; ``lr`` is the peak.
        pct_start: share of the steps in which the learning rate rises (OneCycleLR).
        steps: number of steps.
        batch_size: frames of a step.
        clip_norm: largest norm of all gradients.
        background_weight: class weight of the background; the mean of the others' pillars is 1.
        class_balance: how far rare classes weigh more, 0 to 1; see
            :func:`padre3d.probe.balance.class_weights`.
        loss_weights: weights of offset, heading, log_size and velocity beside the class.
        ema_decay: of an average of the weights over the steps that is validated in place of the
            last weights; 0 for none.
        augmentation: max_angle and flip_probability of :class:`Schedule`.
        seed: of weights, data order and augmentation.
        amp: None, "fp16" or "bf16".
    """

    grid: Mapping[str, Any]
    pillar_encoder: Mapping[str, Any]
    backbone: Mapping[str, Any]
    class_names: tuple[str, ...]
    optimizer: Mapping[str, Any]
    pct_start: float
    steps: int
    batch_size: int
    clip_norm: float
    background_weight: float
    class_balance: float
    loss_weights: Mapping[str, float]
    augmentation: Mapping[str, float]
    ema_decay: float = 0.0
    seed: int = 0
    amp: str | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"steps and batch_size: expected at least 1, got {self.steps} and {self.batch_size}"
            )
        if not 0 <= self.class_balance <= 1:
            raise ValueError(f"class_balance: expected 0 to 1, got {self.class_balance}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected 0 to below 1, got {self.ema_decay}")
        if set(self.loss_weights) != LOSS_NAMES:
            raise ValueError(
                f"loss_weights: expected {sorted(LOSS_NAMES)}, got {sorted(self.loss_weights)}"
            )
        if self.amp not in (None, *AMP_TYPES):
            raise ValueError(f"amp: expected None or one of {AMP_TYPES}, got {self.amp!r}")

    @classmethod
    def from_config(cls, cfg: Any, seed: int = 0, amp: str | None = None) -> ProbeSettings:
        """The settings of an mmengine Config.

        Raises:
            ValueError: if the config lacks one.
        """
        cls.check_config(cfg)
        own = (*OPTION_NAMES, "class_names", "ema_decay")
        names = [name for name in cls.__dataclass_fields__ if name not in own]
        plain = cfg.to_dict()
        return cls(
            **{name: plain[name] for name in names},
            class_names=tuple(plain["class_names"]),
            ema_decay=plain.get("ema_decay", 0.0),
            seed=seed,
            amp=amp,
        )

    @classmethod
    def check_config(cls, cfg: Mapping[str, Any]) -> None:
        """Raise ValueError if a config, such as that of a detector, lacks a setting."""
        optional = (*OPTION_NAMES, "ema_decay")
        names = [name for name in cls.__dataclass_fields__ if name not in optional]
        missing = [name for name in names if name not in cfg]
        if missing:
            raise ValueError(f"probe config: expected {names}, {missing[0]!r} is missing")

    @classmethod
    def config_names(cls) -> tuple[str, ...]:
        """What decides a result and stands in a config."""
        return *(n for n in cls.__dataclass_fields__ if n not in OPTION_NAMES), *DATA_NAMES

    def fingerprint(self, *also: str) -> str:
        """Hash of the settings and of whatever else decides the result."""
        text = json.dumps([asdict(self), *also], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def change_backbone(
    cfg: Any, backbone: Mapping[str, Any] | None, mixer: Mapping[str, Any] | None
) -> None:
    """Set single settings of the config's backbone, and put another mixer in place of its own."""
    merged = {**cfg.backbone, **(backbone or {})}
    if mixer is not None:
        merged["mixer"] = dict(mixer)
    cfg.backbone = merged
