"""The four losses of the head, in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CLAMP = 1e-4


def gaussian_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of a dense heatmap (CornerNet, Eq. 1; alpha 2, beta 4).

    Cells with target 1 are positive; the others count as negative, less so near a centre. The sum
    is divided by the number of positive cells (at least 1). Probabilities are clamped to
    1e-4..1 - 1e-4.

    Args:
        logits, target: (B, classes, y, x).
    """
    p = logits.sigmoid().clamp(_CLAMP, 1 - _CLAMP)
    positive = target == 1
    on_centre = -p.log() * (1 - p).square()
    elsewhere = -(1 - p).log() * p.square() * (1 - target).square().square()
    total = torch.where(positive, on_centre, elsewhere).sum()
    return total / positive.sum().clamp_min(1)


def sigmoid_focal_loss(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Sum of the binary focal losses (Lin et al., 2017) of proposals.

    Args:
        logits: (..., classes).
        labels: (...) int64; a label equal to ``classes`` is background.
    """
    classes = torch.arange(logits.shape[-1], device=logits.device)
    target = (labels[..., None] == classes).to(logits.dtype)
    # The logarithm of the probability of the wrong answer: its power has a gradient where the
    # probability itself is rounded to zero.
    log_wrong = F.logsigmoid(logits * (1 - 2 * target))
    weight = target * alpha + (1 - target) * (1 - alpha)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * (gamma * log_wrong).exp() * entropy).sum()


def box_l1_loss(codes: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of absolute errors of box codes (B, P, 10)."""
    return ((codes - target).abs() * weights).sum()


def iou_l1_loss(predicted: Tensor, iou: Tensor) -> Tensor:
    """L1 loss of the IoU branch against ``2 IoU - 1``, over the proposals that overlap their box.

    Args:
        predicted: (B, P) in -1..1.
        iou: (B, P) true IoU, 0 where a proposal has no box.
    """
    counts = iou > 0
    error = (predicted - (2 * iou - 1)).abs()
    return torch.where(counts, error, torch.zeros_like(error)).sum() / counts.sum().clamp_min(1)
