"""Metrics of the probe, whole and in groups, with intervals over frames.

Every metric is a quotient of sums over pillars, and the sums are kept per frame. One product with
a matrix of weights, a row of ones and a row per resampling of the frames, gives the metric and its
bootstrap at once.

| metric | over the pillars of boxes ("foreground"), unless said otherwise |
|---|---|
| iou | all pillars: TP / (TP + FP + FN) of a class, in percent |
| mean_iou | mean of iou over the classes that the validation frames hold, in percent |
| recall | share of pillars given the class of their box, in percent |
| centre_m | mean distance of predicted and true centre in the plane, metres |
| heading_rad | mean absolute difference of the yaws, wrapped to 0..pi |
| size_log | mean absolute error of log length, log width and log height; 0.1 is about 10 % |
| velocity_mps | mean norm of the velocity's error, m/s, over pillars of known velocity |
| zero_centre_m, zero_velocity_mps | the same two for a prediction of no offset and no motion |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from padre3d.probe.model import Predictions
from padre3d.probe.targets import PillarTargets

DISTANCE_EDGES_M = (20.0, 40.0)
DISTANCE_NAMES = ("0-20m", "20-40m", "over_40m")
LENGTH_EDGES_M = (2.0, 6.0)
LENGTH_NAMES = ("under_2m", "2-6m", "over_6m")
SUMS = (
    *("pillars", "correct", "centre_m", "heading_rad", "size_log", "moving", "velocity_mps"),
    *("zero_centre_m", "zero_velocity_mps"),
)
PERCENTILES = (2.5, 97.5)


class FrameSums(NamedTuple):
    """Sums of one frame, or of F frames with a first axis F.

    Attributes:
        confusion: (distance bands, classes + 1, classes + 1) pillars by true and predicted class.
        errors: (classes, distance bands, length bands, 9) :data:`SUMS` over foreground pillars;
            ``moving`` counts those of known velocity.
    """

    confusion: np.ndarray
    errors: np.ndarray


def frame_sums(predicted: Predictions, targets: PillarTargets, centres: Tensor) -> FrameSums:
    """Sums of one frame.

    Args:
        predicted: of N pillars.
        targets: of the same.
        centres: (N, 2) x and y of the pillars' centres in metres; the sensor is at 0, 0.
    """
    total = predicted.logits.shape[1]
    guess = predicted.logits.argmax(1)
    band = torch.bucketize(centres.norm(dim=1), centres.new_tensor(DISTANCE_EDGES_M), right=True)
    bands = len(DISTANCE_NAMES)
    cell = (band * total + targets.label) * total + guess
    confusion = torch.bincount(cell, minlength=bands * total**2).view(bands, total, total)

    foreground = targets.box >= 0
    length = torch.bucketize(targets.length, centres.new_tensor(LENGTH_EDGES_M), right=True)
    group = (targets.label * bands + band) * len(LENGTH_NAMES) + length
    shape = (total - 1, bands, len(LENGTH_NAMES), len(SUMS))
    values = _pillar_values(predicted, targets, guess)[foreground]
    sums = values.new_zeros(np.prod(shape[:3]).item(), len(SUMS))
    sums.index_add_(0, group[foreground], values)
    return FrameSums(confusion.cpu().numpy(), sums.view(shape).cpu().numpy())


def _pillar_values(predicted: Predictions, targets: PillarTargets, guess: Tensor) -> Tensor:
    """(N, 9) float64 in the order of :data:`SUMS`; for foreground pillars only."""
    turn = _angle(predicted.heading) - _angle(targets.heading)
    wrapped = torch.atan2(turn.sin(), turn.cos()).abs()
    known = targets.velocity_known
    speed_error = (predicted.velocity - targets.velocity).norm(dim=1)
    columns = (
        torch.ones_like(wrapped),
        guess == targets.label,
        (predicted.offset - targets.offset).norm(dim=1),
        wrapped,
        (predicted.log_size - targets.log_size).abs().mean(1),
        known,
        torch.where(known, speed_error, 0.0),
        targets.offset.norm(dim=1),
        torch.where(known, targets.velocity.norm(dim=1), 0.0),
    )
    return torch.stack([column.double() for column in columns], 1)


def _angle(heading: Tensor) -> Tensor:
    return torch.atan2(heading[:, 0], heading[:, 1])


def summarize(
    frames: Sequence[FrameSums],
    class_names: Sequence[str],
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of a validation.

    Classes that no validation frame holds are left out of every mean and listed under
    ``absent_classes``. The 95 % intervals are percentiles over ``replicates`` resamplings of the
    frames, drawn with replacement; frames of one scene are alike, so they tell how much these
    scenes' frames vary, not how much others would. What lacks a class leaves it out of its mean.

    Args:
        frames: sums of F frames.
        class_names: names in label order.
        replicates: number of resamplings.
        seed: of the resamplings.

    Returns:
        The metrics of the table in the module's docstring by name, NaN where there is no pillar;
        ``<class>_iou`` too; ``intervals`` with ``[low, high]`` of each; ``by_class``,
        ``by_distance`` (of the pillar from the sensor) and ``by_length`` (of the box) with the
        same per group, intervals as ``NAME_95``. In a length band there is no background, so it
        has ``recall`` and no IoU.
    """
    weights = frame_weights(len(frames), replicates, seed)
    confusion = _weighted(weights, np.stack([f.confusion for f in frames]))
    errors = _weighted(weights, np.stack([f.errors for f in frames]))
    present = confusion[0].sum(0).sum(1)[:-1] > 0
    names = [name for name, held in zip(class_names, present, strict=True) if held]

    iou = class_iou(confusion.sum(1))
    whole = {"mean_iou": _mean(iou[:, present]), **_quotients(errors.sum((1, 2, 3)))}
    by_class = {
        name: {"iou": iou[:, c], **_quotients(errors[:, c].sum((1, 2)))}
        for c, name in enumerate(class_names)
        if present[c]
    }
    by_distance = {
        name: {
            "mean_iou": _mean(class_iou(confusion[:, d])[:, present]),
            **_quotients(errors[:, :, d].sum((1, 2))),
        }
        for d, name in enumerate(DISTANCE_NAMES)
    }
    by_length = {
        name: _quotients(errors[:, :, :, b].sum((1, 2))) for b, name in enumerate(LENGTH_NAMES)
    }
    whole.update({f"{name}_iou": by_class[name]["iou"] for name in names})
    return {
        **{name: float(values[0]) for name, values in whole.items()},
        "frames": len(frames),
        "foreground_pillars": int(errors[0, ..., 0].sum()),
        "absent_classes": [name for name in class_names if name not in names],
        "intervals": {name: _interval(values) for name, values in whole.items()},
        "by_class": _nested(by_class),
        "by_distance": _nested(by_distance),
        "by_length": _nested(by_length),
    }


def frame_weights(num_frames: int, replicates: int, seed: int) -> np.ndarray:
    """(1 + replicates, num_frames): a row of ones, then how often a resampling has each frame."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(num_frames, np.full(num_frames, 1 / num_frames), size=replicates)
    return np.concatenate([np.ones((1, num_frames)), drawn])


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """IoU (R, classes) in percent of confusions (R, classes + 1, classes + 1).

    NaN for a class without a true pillar: its IoU would be 0 by a single false one.
    """
    hit = np.diagonal(confusion, axis1=1, axis2=2)[:, :-1]
    true = confusion.sum(2)[:, :-1]
    union = confusion.sum(1)[:, :-1] + true - hit
    return _divide(100 * hit, np.where(true > 0, union, 0))


def _weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(R, F) weights and values (F, ...) to weighted sums (R, ...)."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    return (weights @ flat).reshape(len(weights), *values.shape[1:])


def _quotients(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of sums (R, 9)."""
    of = dict(zip(SUMS, np.moveaxis(sums, -1, 0), strict=True))
    result = {"recall": _divide(100 * of["correct"], of["pillars"])}
    for name in ("centre_m", "heading_rad", "size_log", "zero_centre_m"):
        result[name] = _divide(of[name], of["pillars"])
    for name in ("velocity_mps", "zero_velocity_mps"):
        result[name] = _divide(of[name], of["moving"])
    return result


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean (R,) over the columns (R, K) that are there; NaN for a row without any."""
    there = ~np.isnan(values)
    return _divide(np.where(there, values, 0.0).sum(1), there.sum(1))


def _interval(values: np.ndarray) -> list[float]:
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return [float("nan")] * 2
    return [float(v) for v in np.percentile(drawn, PERCENTILES)]


def _nested(groups: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    return {
        group: {
            **{name: float(values[0]) for name, values in found.items()},
            **{f"{name}_95": _interval(values) for name, values in found.items()},
        }
        for group, found in groups.items()
    }
