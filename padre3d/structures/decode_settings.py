"""The numbers of box decoding, for the head in torch and the runtime in numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from padre3d.structures.classes import POINT_CLASSES

# Settings that came later: what was exported without them behaves as their defaults say.
LATER_SETTINGS = ("nms_pre", "nms_score_thr", "nms_rotated")


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
        nms_pre: most boxes, the best, of each of those classes that the suppression looks at; the
            others are dropped. None: all.
        nms_score_thr: a box of those classes needs at least this score, after the IoU rescoring.
        nms_rotated: whether rectangles are compared as they stand; otherwise as if their yaw were
            0.

    Raises:
        ValueError: on a number that is not finite, an exponent outside of 0 to 1, a negative class
            or count, or a range that has not six values.
    """

    score_thr: float = 0.0
    centre_range_m: tuple[float, ...] = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)
    iou_alpha: float | tuple[float, ...] | None = 0.5
    nms_classes: tuple[int, ...] = POINT_CLASSES
    nms_iou: float = 0.175
    nms_max: int = 100
    nms_pre: int | None = None
    nms_score_thr: float = 0.0
    nms_rotated: bool = True

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
        for name in ("score_thr", "centre_range_m", "iou_alpha", "nms_iou", "nms_score_thr"):
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else () if value is None else (value,)
            if not all(map(math.isfinite, values)):
                raise ValueError(f"DecodeSettings.{name}: expected finite numbers, got {value}")
        alphas = self.iou_alpha if isinstance(self.iou_alpha, tuple) else (self.iou_alpha or 0.0,)
        if not all(0 <= alpha <= 1 for alpha in alphas):
            raise ValueError(f"DecodeSettings.iou_alpha: expected 0 to 1, got {self.iou_alpha}")
        counts = (self.nms_max, self.nms_max if self.nms_pre is None else self.nms_pre)
        if min((*counts, *self.nms_classes)) < 0:
            raise ValueError(
                "DecodeSettings: expected nms_classes, nms_max and nms_pre of at least 0, got "
                f"{self.nms_classes}, {self.nms_max} and {self.nms_pre}"
            )

    def alphas(self, num_classes: int) -> tuple[float, ...] | None:
        """One rescoring exponent per class, or None.

        Raises:
            ValueError: if there are neither one nor ``num_classes`` of them.
        """
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
