"""The numbers of the head that are no layer widths: targets, losses and post-processing."""

from __future__ import annotations

from dataclasses import dataclass

from padre3d.structures.decode_settings import DecodeSettings

__all__ = ["DecodeSettings", "LossSettings", "TargetSettings"]


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
