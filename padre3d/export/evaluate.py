"""An exported folder in the place of a model's weights, for the official evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from padre3d.runtime.runtime import Runtime
from padre3d.structures.boxes import Detections


def use_runtime(model: nn.Module, runtime: Runtime) -> None:
    """Let a detector's ``predict_points`` answer with the runtime's boxes.

    Args:
        model: a :class:`padre3d.detector.PADReDetector`, or a distributed wrapper of one.
        runtime: the exported detector.

    Raises:
        ValueError: if their classes differ.
    """
    detector: Any = getattr(model, "module", model)
    if tuple(detector.class_names) != runtime.class_names:
        raise ValueError(
            f"exported folder: expected the config's classes {tuple(detector.class_names)}, "
            f"got {runtime.class_names}"
        )

    def predict_points(points: list[Tensor]) -> list[Detections]:
        detections = (runtime(cloud.cpu().numpy()) for cloud in points)
        return [
            Detections(
                torch.from_numpy(boxes).float(),
                torch.from_numpy(scores).float(),
                torch.from_numpy(labels),
            )
            for boxes, scores, labels in detections
        ]

    detector.predict_points = predict_points
