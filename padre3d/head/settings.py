"""The numbers of the head that are no layer widths: targets, losses and post-processing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from padre3d.structures.classes import labels_of, point_labels
from padre3d.structures.decode_settings import DecodeSettings
from padre3d.structures.grid import PillarGrid

__all__ = ["DecodeSettings", "LossSettings", "TargetSettings", "decode_settings"]


@dataclass(frozen=True)
class TargetSettings:
    """Heatmap targets and the costs of the Hungarian matching.

    Attributes:
        gaussian_overlap: IoU that a box moved by the gaussian's radius keeps.
        min_radius: smallest radius in cells.
        cls_cost, reg_cost, iou_cost: weights of the three matching costs.
        focal_alpha, focal_gamma, focal_eps: of the classification cost; eps is added to the
            probabilities in its logarithms.
    """

    gaussian_overlap: float = 0.1
    min_radius: int = 2
    cls_cost: float = 0.15
    reg_cost: float = 0.25
    iou_cost: float = 0.25
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    focal_eps: float = 1e-12

    def __post_init__(self) -> None:
        if not 0 < self.gaussian_overlap < 1:
            raise ValueError(
                f"TargetSettings.gaussian_overlap: expected 0 to 1, got {self.gaussian_overlap}"
            )
        check_weights(self, "min_radius", "cls_cost", "reg_cost", "iou_cost", "focal_gamma")


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses.

    Attributes:
        heatmap, cls, bbox, iou: weight of each loss.
        code_weights: weight of x, y, z, log l, log w, log h, sin, cos, vx, vy in the box loss.
        focal_alpha, focal_gamma: of the proposals' classification loss.
    """

    heatmap: float = 1.0
    cls: float = 1.0
    bbox: float = 0.25
    iou: float = 0.5
    code_weights: tuple[float, ...] = (1.0,) * 8 + (0.2, 0.2)
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "code_weights", tuple(float(w) for w in self.code_weights))
        if len(self.code_weights) != 10:
            raise ValueError(f"LossSettings expected 10 code_weights, got {len(self.code_weights)}")
        check_weights(self, "heatmap", "cls", "bbox", "iou", "code_weights", "focal_gamma")


def check_weights(settings: Any, *names: str) -> None:
    """Refuse weights that are negative or not finite.

    Raises:
        ValueError: names the setting.
    """
    for name in names:
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(v) and v >= 0 for v in values):
            raise ValueError(
                f"{type(settings).__name__}.{name}: expected finite numbers from 0 on, got {value}"
            )


def decode_settings(
    given: DecodeSettings | Mapping[str, Any] | None, grid: PillarGrid, class_names: Sequence[str]
) -> DecodeSettings:
    """Settings of decoding for a map and a class list.

    Args:
        given: settings as they are, or a dict. What a dict leaves out follows the model: rotated
            suppression is for its point classes, and boxes are kept wherever the map reaches.
        grid: the head's map.
        class_names: in label order; ``nms_classes`` may name them.

    Raises:
        ValueError: if a class is unknown.
    """
    if not isinstance(given, DecodeSettings):
        values = dict(given or {})
        values.setdefault("nms_classes", point_labels(class_names))
        values["nms_classes"] = labels_of(values["nms_classes"], class_names, "nms_classes")
        values.setdefault("centre_range_m", _widened(DecodeSettings().centre_range_m, grid))
        return DecodeSettings(**values)
    labels_of(given.nms_classes, class_names, "nms_classes")
    return given


def _widened(centre_range_m: tuple[float, ...], grid: PillarGrid) -> tuple[float, ...]:
    """The usual range, or a map's with the same margin where that reaches farther."""
    margin = (7.2, 7.2, 5.0)
    low = (min(c, r - m) for c, r, m in zip(centre_range_m, grid.range_m, margin, strict=False))
    high = (
        max(c, r + m) for c, r, m in zip(centre_range_m[3:], grid.range_m[3:], margin, strict=True)
    )
    return (*low, *high)
