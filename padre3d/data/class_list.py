"""Scores of any class list, with the devkit's own matching, AP and error functions.

The devkit's evaluation knows ten class names and reads tables. Here the boxes come from the info
file, so a data set of one's own needs no tables, and the names are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nuscenes.eval.common.data_classes import EvalBox, EvalBoxes
from nuscenes.eval.common.utils import Quaternion
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.data_classes import (
    DetectionConfig,
    DetectionMetricData,
    DetectionMetrics,
)

# The devkit leaves these errors of these classes out.
UNDEFINED: dict[str, tuple[str, ...]] = {
    "traffic_cone": ("attr_err", "vel_err", "orient_err"),
    "barrier": ("attr_err", "vel_err"),
}


class ListedBox(EvalBox):
    """A box of any class name; attributes are not scored."""

    attribute_name = ""

    def __init__(
        self, *, detection_name: str, detection_score: float = -1.0, **box: object
    ) -> None:
        super().__init__(**box)
        self.detection_name = detection_name
        self.detection_score = detection_score

    def serialize(self) -> dict:
        """The box as a dict."""
        return dict(vars(self))

    @classmethod
    def deserialize(cls, content: dict) -> ListedBox:
        """The box of a dict."""
        return cls(**content)


class ClassListConfig(DetectionConfig):
    """The devkit's settings with other classes.

    Args:
        official: distances, recalls and weights.
        class_range: class -> largest distance from the ego vehicle in m.
        undefined: class -> errors that are left out.
    """

    def __init__(
        self,
        official: DetectionConfig,
        class_range: Mapping[str, float],
        undefined: Mapping[str, tuple[str, ...]],
    ) -> None:
        # The base class refuses other names.
        self.__dict__.update(official.__dict__)
        self.class_range = dict(class_range)
        self.class_names = self.class_range.keys()
        self.undefined = undefined


class ClassListMetrics(DetectionMetrics):
    """The devkit's summary; an error that no class has is left out of NDS, not counted as 0."""

    @property
    def tp_errors(self) -> dict[str, float]:
        """Mean over the classes of each error; NaN where no class has it."""
        errors = {}
        for error in TP_METRICS:
            values = [self.get_label_tp(name, error) for name in self.cfg.class_names]
            known = [value for value in values if not np.isnan(value)]
            errors[error] = float(np.mean(known)) if known else float("nan")
        return errors

    @property
    def tp_scores(self) -> dict[str, float]:
        """1 - error, at least 0, of the errors that exist."""
        return {k: max(0.0, 1.0 - v) for k, v in self.tp_errors.items() if not np.isnan(v)}


@dataclass(frozen=True)
class ClassListEvaluation:
    """Boxes to score; the fields of the devkit's DetectionEval that count."""

    sample_tokens: list[str]
    gt_boxes: EvalBoxes
    pred_boxes: EvalBoxes
    cfg: ClassListConfig


def new_metrics(cfg: DetectionConfig) -> DetectionMetrics:
    """An empty summary: the official one, or that of a class list."""
    return ClassListMetrics(cfg) if isinstance(cfg, ClassListConfig) else DetectionMetrics(cfg)


def undefined_errors(cfg: DetectionConfig, name: str) -> tuple[str, ...]:
    """Errors of a class that are left out."""
    table = cfg.undefined if isinstance(cfg, ClassListConfig) else UNDEFINED
    return table.get(name, ())


def class_list_evaluation(
    infos: Sequence[dict],
    info_names: Mapping[int, str],
    predictions: Mapping[int, tuple[np.ndarray, np.ndarray, np.ndarray]],
    class_range: Mapping[str, float],
    official: DetectionConfig,
    range_m: Sequence[float] | None = None,
) -> ClassListEvaluation:
    """Collect the boxes that count.

    A box counts within its class's distance from the ego vehicle, with its centre in ``range_m``;
    an annotated one needs a point, as in the devkit.

    Args:
        infos: frames of the info file.
        info_names: label in the info file -> class.
        predictions: frame -> boxes (M, 9) ``x, y, z (gravity), l, w, h, yaw, vx, vy`` in the LiDAR
            frame, scores (M,) and labels (M,), which count ``class_range``'s names.
        class_range: class -> largest distance in m.
        official: the devkit's distances, recalls and weights.
        range_m: xmin, ymin, zmin, xmax, ymax, zmax of the model; its z is not looked at.
    """
    names = list(class_range)
    truth, found = EvalBoxes(), EvalBoxes()
    for frame, (boxes, scores, labels) in predictions.items():
        info = infos[frame]
        guesses = zip(_placed(info, boxes, range_m), scores, labels, strict=True)
        found.add_boxes(
            info["token"],
            _within(
                class_range,
                (
                    ListedBox(**box, detection_name=names[label], detection_score=float(score))
                    for box, score, label in guesses
                    if box
                ),
            ),
        )
        truth.add_boxes(
            info["token"],
            _within(class_range, _annotated(info, info_names, range_m)),
        )
    undefined = {name: _undefined(truth, name) for name in names}
    cfg = ClassListConfig(official, class_range, undefined)
    return ClassListEvaluation(truth.sample_tokens, truth, found, cfg)


def score_class_list(evaluation: ClassListEvaluation) -> DetectionMetrics:
    """AP at every distance and errors of every class, as the devkit computes them."""
    cfg = evaluation.cfg
    metrics = new_metrics(cfg)
    for name in cfg.class_names:
        for distance in cfg.dist_ths:
            data = accumulate(
                evaluation.gt_boxes,
                evaluation.pred_boxes,
                name,
                cfg.dist_fcn_callable,
                distance,
            )
            add_class_metrics(metrics, cfg, name, distance, data)
    return metrics


def add_class_metrics(
    metrics: DetectionMetrics,
    cfg: DetectionConfig,
    name: str,
    distance: float,
    data: DetectionMetricData,
) -> None:
    """Add a class's AP at a matching distance and, at the one for errors, its mean errors."""
    metrics.add_label_ap(name, distance, calc_ap(data, cfg.min_recall, cfg.min_precision))
    if distance != cfg.dist_th_tp:
        return
    for error in TP_METRICS:
        undefined = error in undefined_errors(cfg, name)
        value = np.nan if undefined else calc_tp(data, cfg.min_recall, error)
        metrics.add_label_tp(name, error, value)


def _annotated(
    info: dict, info_names: Mapping[int, str], range_m: Sequence[float] | None
) -> Iterable[ListedBox]:
    instances = [i for i in info["instances"] if i["bbox_3d_isvalid"]]
    rows = np.array([[*i["bbox_3d"], *i["velocity"]] for i in instances]).reshape(-1, 9)
    for box, instance in zip(_placed(info, rows, range_m), instances, strict=True):
        name = info_names.get(instance["bbox_label_3d"])
        if box and name:
            yield ListedBox(**box, detection_name=name)


def _within(class_range: Mapping[str, float], boxes: Iterable[ListedBox]) -> list[ListedBox]:
    return [
        box
        for box in boxes
        if box.detection_name in class_range and box.ego_dist < class_range[box.detection_name]
    ]


def _placed(
    info: dict, boxes: np.ndarray, range_m: Sequence[float] | None
) -> list[dict[str, Any] | None]:
    """Boxes (M, 9) of the LiDAR frame in the global frame; None for those outside of the range."""
    lidar2ego = np.array(info["lidar_points"]["lidar2ego"])
    ego2global = np.array(info["ego2global"])
    rotation = (ego2global @ lidar2ego)[:3, :3]
    ego = boxes[:, :3] @ lidar2ego[:3, :3].T + lidar2ego[:3, 3]
    centres = ego @ ego2global[:3, :3].T + ego2global[:3, 3]
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], 1)
    heading = heading @ rotation.T
    yaws = np.arctan2(heading[:, 1], heading[:, 0])
    velocities = boxes[:, 7:9] @ rotation[:2, :2].T
    placed: list[dict[str, Any] | None] = []
    for row, box in enumerate(boxes):
        if range_m is not None and not (
            range_m[0] <= box[0] <= range_m[3] and range_m[1] <= box[1] <= range_m[4]
        ):
            placed.append(None)
            continue
        placed.append(
            {
                "sample_token": info["token"],
                "translation": tuple(centres[row]),
                "size": (box[4], box[3], box[5]),
                "rotation": tuple(Quaternion(axis=[0, 0, 1], radians=yaws[row]).elements),
                "velocity": tuple(velocities[row]),
                "ego_translation": tuple(centres[row] - ego2global[:3, 3]),
            }
        )
    return placed


def _undefined(truth: EvalBoxes, name: str) -> tuple[str, ...]:
    """Errors that the annotations of a class do not define: attributes, perhaps velocities."""
    boxes = [box for box in truth.all if box.detection_name == name]
    usual = {"attr_err", *UNDEFINED.get(name, ())}
    if all(np.isnan(box.velocity).any() for box in boxes):
        usual.add("vel_err")
    return tuple(sorted(usual))
