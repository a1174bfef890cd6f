"""A detector in training beside its teacher, whose outputs are a second target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from torch import Tensor, nn

from padre3d.detector import PADReDetector, to_gravity_boxes
from padre3d.training.checkpoint import load_checkpoint_file, load_state

WEIGHTS = {"heatmap": 1.0, "bev": 1.0}


class DistilledDetector(PADReDetector):
    """A PADReDetector whose losses have two terms more, towards a frozen teacher's outputs.

    The teacher sees the same points. It is no submodule: its weights are in no checkpoint, get no
    gradient, and its statistics stay as they are. A checkpoint is one of the plain detector.

    Args:
        teacher: model config of the teacher.
        teacher_checkpoint: its weights.
        distill_weights: weights of ``heatmap`` (:func:`heatmap_divergence`) and ``bev``
            (:func:`feature_error`); 1 for those not named.
        **kwargs: as for :class:`PADReDetector`.

    Raises:
        ValueError: if the teacher has another map or other classes, or a weight is unknown.
    """

    def __init__(
        self,
        teacher: dict,
        teacher_checkpoint: str,
        distill_weights: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.distill_weights = {**WEIGHTS, **(distill_weights or {})}
        if set(self.distill_weights) != set(WEIGHTS):
            raise ValueError(
                f"distill_weights: expected {sorted(WEIGHTS)}, got {sorted(self.distill_weights)}"
            )
        model = MODELS.build(teacher)
        check_teacher(model, self)
        load_state(model, load_checkpoint_file(teacher_checkpoint), teacher_checkpoint)
        model.eval().requires_grad_(False)
        # In a list, where nn.Module does not see it.
        self._teacher = [model]

    @property
    def teacher(self) -> PADReDetector:
        """The frozen detector."""
        return self._teacher[0]

    def _apply(self, fn: Callable, recurse: bool = True) -> nn.Module:
        """The teacher goes where its student goes."""
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)

    def loss(
        self, batch_inputs: dict, batch_data_samples: list[Det3DDataSample]
    ) -> dict[str, Tensor]:
        """The plain detector's losses, ``loss_distill_heatmap`` and ``loss_distill_bev``."""
        boxes = [to_gravity_boxes(s.gt_instances_3d.bboxes_3d) for s in batch_data_samples]
        labels = [s.gt_instances_3d.labels_3d for s in batch_data_samples]
        bev = self.extract_feat(batch_inputs)
        outputs = self.head(bev)
        losses = self.head.loss(outputs, boxes, labels)
        with torch.no_grad():
            wanted_bev = self.teacher.extract_feat(batch_inputs)
            wanted = self.teacher.head(wanted_bev).dense_heatmap
        terms = {
            "heatmap": heatmap_divergence(outputs.dense_heatmap, wanted),
            "bev": feature_error(bev, wanted_bev),
        }
        for name, term in terms.items():
            losses[f"loss_distill_{name}"] = self.distill_weights[name] * term
        return losses


def check_teacher(teacher: PADReDetector, student: PADReDetector) -> None:
    """Raise ValueError unless the teacher's maps are targets for the student's."""
    for name in ("grid", "in_channels", "num_classes"):
        ours, theirs = getattr(student.head, name), getattr(teacher.head, name)
        if ours != theirs:
            raise ValueError(f"teacher: expected head.{name} {ours}, got {theirs}")
    if teacher.class_names != student.class_names:
        raise ValueError(
            f"teacher: expected the classes {student.class_names}, got {teacher.class_names}"
        )


def heatmap_divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Sum of the Bernoulli divergences KL(teacher | student) over the teacher's total probability.

    As the plain heatmap loss is divided by its number of objects. Zero where the logits agree.

    Args:
        logits, wanted: (B, classes, y, x) of student and teacher.
    """
    p = wanted.float().sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits.float(), p, reduction="sum")
    own = F.binary_cross_entropy_with_logits(wanted.float(), p, reduction="sum")
    return (cross - own) / p.sum().clamp_min(1)


def feature_error(features: Tensor, wanted: Tensor) -> Tensor:
    """Square error of maps (B, C, y, x) over the square of the teacher's."""
    wanted = wanted.float()
    error = (features.float() - wanted).square().sum()
    return error / wanted.square().sum().clamp_min(torch.finfo(torch.float32).tiny)
