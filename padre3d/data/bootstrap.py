"""How far NDS and mAP depend on which frames were scored: the bootstrap over frames.

Frames are drawn with replacement, as many as there are, and scored again. A match depends on the
order of the scores within its own frame alone, so boxes are matched once and a resample only
repeats rows; AP and errors are then the devkit's own functions of them. Frames of one scene look
alike: the interval over frames is a lower bound of what other scenes would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from nuscenes.eval.common.utils import (
    attr_acc,
    center_distance,
    cummean,
    scale_iou,
    velocity_l2,
    yaw_diff,
)
from nuscenes.eval.detection.data_classes import (
    DetectionBox,
    DetectionConfig,
    DetectionMetricData,
    DetectionMetrics,
)
from nuscenes.eval.detection.evaluate import DetectionEval

from padre3d.data.class_list import ClassListEvaluation, add_class_metrics, new_metrics


@dataclass(frozen=True)
class ClassMatches:
    """The predictions of one class, best first, matched at every distance.

    Attributes:
        frame: (P,) frame of each prediction.
        score: (P,).
        matched: by distance (P,) bool.
        errors: by name of the true-positive metric (P,), valid where matched at the distance of
            those metrics.
        positives: (F,) annotated boxes of each frame.
    """

    frame: np.ndarray
    score: np.ndarray
    matched: Mapping[float, np.ndarray]
    errors: Mapping[str, np.ndarray]
    positives: np.ndarray


def frame_bootstrap(
    evaluation: DetectionEval | ClassListEvaluation, resamples: int = 200, seed: int = 0
) -> dict[str, dict[str, float]]:
    """95 % intervals over frames of ``NDS``, ``mAP`` and the five errors.

    Args:
        evaluation: the devkit's, with its boxes loaded and filtered, or that of a class list.
        resamples: draws of as many frames as there are.
        seed: of the draws.

    Returns:
        For each figure ``value`` (all frames once: the official figure), ``low``, ``high`` and
        ``std`` over the resamples.

    Raises:
        ValueError: on fewer than two resamples.
    """
    if resamples < 2:
        raise ValueError(f"bootstrap: expected at least 2 resamples, got {resamples}")
    matches = match_frames(evaluation)
    frames = len(evaluation.sample_tokens)
    generator = np.random.default_rng(seed)
    official = _figures(score(matches, np.ones(frames, int), evaluation.cfg))
    draws = [
        _figures(score(matches, counts, evaluation.cfg))
        for counts in generator.multinomial(frames, np.full(frames, 1 / frames), resamples)
    ]
    result = {}
    for name, value in official.items():
        values = np.array([draw[name] for draw in draws])
        low, high = np.quantile(values, (0.025, 0.975))
        result[name] = {
            "value": value,
            "low": float(low),
            "high": float(high),
            "std": float(values.std(ddof=1)),
        }
    return result


def match_frames(evaluation: DetectionEval | ClassListEvaluation) -> dict[str, ClassMatches]:
    """Match every class once, as the devkit does for each distance."""
    tokens, cfg = evaluation.sample_tokens, evaluation.cfg
    found: dict[str, ClassMatches] = {}
    for name in cfg.class_names:
        truth = [[b for b in evaluation.gt_boxes[t] if b.detection_name == name] for t in tokens]
        guesses = [
            (box, frame)
            for frame, token in enumerate(tokens)
            for box in evaluation.pred_boxes[token]
            if box.detection_name == name
        ]
        scores = np.array([box.detection_score for box, _ in guesses], float)
        # By falling score, later ones first among equals: the devkit's order.
        order = np.lexsort((np.arange(len(scores)), scores))[::-1]
        rows = [guesses[i] for i in order]
        partners = {d: _partners(rows, truth, cfg, d) for d in cfg.dist_ths}
        found[name] = ClassMatches(
            frame=np.array([frame for _, frame in rows], int),
            score=scores[order],
            matched={d: np.array([p is not None for p in partners[d]], bool) for d in partners},
            errors=_errors(name, rows, partners[cfg.dist_th_tp]),
            positives=np.array([len(boxes) for boxes in truth]),
        )
    return found


def score(
    matches: Mapping[str, ClassMatches], counts: np.ndarray, cfg: DetectionConfig
) -> DetectionMetrics:
    """The devkit's metrics of the frames, each as often as ``counts`` (F,) says."""
    metrics = new_metrics(cfg)
    for name, found in matches.items():
        rows = np.repeat(np.arange(len(found.frame)), counts[found.frame])
        positives = int((found.positives * counts).sum())
        for distance in cfg.dist_ths:
            data = _metric_data(found, rows, positives, found.matched[distance])
            add_class_metrics(metrics, cfg, name, distance, data)
    return metrics


def _metric_data(
    found: ClassMatches, rows: np.ndarray, positives: int, matched: np.ndarray
) -> DetectionMetricData:
    """Precision and running errors at 101 recalls."""
    hits = matched[rows]
    if positives == 0 or not hits.any():
        return DetectionMetricData.no_predictions()
    true = np.cumsum(hits).astype(float)
    precision = true / np.arange(1, len(rows) + 1)
    recall = true / positives
    grid = np.linspace(0, 1, DetectionMetricData.nelem)
    confidence = np.interp(grid, recall, found.score[rows], right=0)
    own = found.score[rows][hits]
    errors = {}
    for name, values in found.errors.items():
        running = cummean(values[rows][hits])
        errors[name] = np.interp(confidence[::-1], own[::-1], running[::-1])[::-1]
    precision = np.interp(grid, recall, precision, right=0)
    return DetectionMetricData(recall=grid, precision=precision, confidence=confidence, **errors)


def _partners(
    rows: Sequence[tuple[DetectionBox, int]],
    truth: Sequence[Sequence[DetectionBox]],
    cfg: DetectionConfig,
    distance: float,
) -> list[DetectionBox | None]:
    """The nearest annotated box of the frame that no better prediction took, if near enough."""
    taken: set[tuple[int, int]] = set()
    partners: list[DetectionBox | None] = []
    for box, frame in rows:
        best, nearest = None, np.inf
        for i, other in enumerate(truth[frame]):
            if (frame, i) not in taken:
                d = cfg.dist_fcn_callable(other, box)
                if d < nearest:
                    best, nearest = i, d
        if best is None or nearest >= distance:
            partners.append(None)
            continue
        taken.add((frame, best))
        partners.append(truth[frame][best])
    return partners


def _errors(
    name: str,
    rows: Sequence[tuple[DetectionBox, int]],
    partners: Sequence[DetectionBox | None],
) -> dict[str, np.ndarray]:
    """The true-positive errors of the matched rows, NaN elsewhere."""
    # A barrier's heading is known up to half a turn.
    period = np.pi if name == "barrier" else 2 * np.pi
    functions = {
        "trans_err": center_distance,
        "vel_err": velocity_l2,
        "scale_err": lambda a, b: 1 - scale_iou(a, b),
        "orient_err": lambda a, b: yaw_diff(a, b, period=period),
        "attr_err": lambda a, b: 1 - attr_acc(a, b),
    }
    return {
        key: np.array(
            [
                np.nan if other is None else function(other, box)
                for (box, _), other in zip(rows, partners, strict=True)
            ],
            float,
        )
        for key, function in functions.items()
    }


def _figures(metrics: DetectionMetrics) -> dict[str, float]:
    errors = metrics.tp_errors
    short = {"mATE": "trans_err", "mASE": "scale_err", "mAOE": "orient_err", "mAVE": "vel_err"}
    return {
        "NDS": metrics.nd_score,
        "mAP": metrics.mean_ap,
        **{name: errors[key] for name, key in short.items()},
        "mAAE": errors["attr_err"],
    }
