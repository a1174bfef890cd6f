"""The numbers of the head that are no layer widths: targets, losses and post-processing."""

from __future__ import annotations

from dataclasses import dataclass

from padre3d.structures.classes import POINT_CLASSES


@dataclass(frozen=True)
class TargetSettings:
    """Heatmap targets and the costs of the Hungarian matching.

    Attributes:
        gaussian_overlap: IoU that a box moved by the gaussian's radius keeps.
        min_radius: smallest radius in cells.
        cls_cost, reg_cost, iou_cost: weights of the three matching costs.
        focal_alpha, focal_gamma: of the classification cost.
    """

    gaussian_overlap: float = 0.1
    min_radius: int = 2
    cls_cost: float = 0.15
    reg_cost: float = 0.25
    iou_cost: float = 0.25
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0


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


@dataclass(frozen=True)
class DecodeSettings:
    """Post-processing.

    Attributes:
        score_thr: a box needs a score above it, before the IoU rescoring.
        centre_range_m: a box needs its gravity centre inside (xmin, ymin, zmin, xmax, ymax, zmax).
        iou_alpha: exponent a of ``score^(1-a) * iou^a``, one for all classes or one per class;
            None switches the rescoring off.
        nms_classes: classes that go through rotated non-maximum suppression, each on its own.
        nms_iou: BEV IoU above which the box of lower score is dropped.
        nms_max: most boxes kept of each of those classes.
    """

    score_thr: float = 0.0
    centre_range_m: tuple[float, ...] = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)
    iou_alpha: float | tuple[float, ...] | None = 0.5
    nms_classes: tuple[int, ...] = POINT_CLASSES
    nms_iou: float = 0.175
    nms_max: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre_range_m", tuple(float(v) for v in self.centre_range_m))
        object.__setattr__(self, "nms_classes", tuple(self.nms_classes))
        if isinstance(self.iou_alpha, (list, tuple)):
            alpha = tuple(float(a) for a in self.iou_alpha)
            object.__setattr__(self, "iou_alpha", alpha[0] if len(alpha) == 1 else alpha)
        if len(self.centre_range_m) != 6:
            raise ValueError(
                f"DecodeSettings expected 6 values of centre_range_m, got {self.centre_range_m}"
            )

    def alphas(self, num_classes: int) -> tuple[float, ...] | None:
        """One rescoring exponent per class, or None."""
        if self.iou_alpha is None:
            return None
        alphas = self.iou_alpha
        if not isinstance(alphas, tuple):
            alphas = (float(alphas),) * num_classes
        if len(alphas) != num_classes:
            raise ValueError(
                f"DecodeSettings.iou_alpha: expected 1 or {num_classes} values, got {len(alphas)}"
            )
        return alphas
