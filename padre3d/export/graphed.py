"""A detector in torch that runs from CUDA graphs: from the pillars to the head's raw outputs.

What tools/export.py writes to a file is a function of tensors of fixed shapes. Here it is captured
as it is, one CUDA graph for every bucket of pillar counts, so that a frame costs no launches of
single kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from padre3d.backbone.cuda_graphs import CapturedGraph, autocast_type
from padre3d.export.graph import DetectorGraph, frame_inputs
from padre3d.head.outputs import HeadOutputs


class GraphedDetector(nn.Module):
    """``padre3d.detect(GraphedDetector(model), points)`` finds what ``detect(model, points)`` does.

    The first frame of a bucket captures its graph: run typical frames before timing. The network is
    a copy of the detector's: after other weights make a new one. On a CPU there is no graph, only
    the padding.

    Args:
        detector: a :class:`padre3d.detector.PADReDetector` in evaluation mode.
        bucket: pillars of a frame are padded to a multiple of it.

    Raises:
        ValueError: if the detector trains, has a local descriptor, or ``bucket`` is below 1.
    """

    def __init__(self, detector: Any, bucket: int = 2048) -> None:
        super().__init__()
        if detector.training:
            raise ValueError("GraphedDetector: expected a detector in evaluation mode")
        if bucket < 1:
            raise ValueError(f"bucket: expected 1 pillar or more, got {bucket}")
        self.detector, self.bucket = detector, bucket
        self.graph = DetectorGraph(detector)
        self.class_names, self.grid = detector.class_names, detector.grid
        self._captured: dict[tuple[object, ...], CapturedGraph] = {}

    @torch.no_grad()
    def predict_points(self, points: Sequence[Tensor]) -> list[Any]:
        """Detections of one cloud (P, 5) in a list, as the detector's own method gives them.

        Raises:
            ValueError: for more than one cloud.
        """
        if len(points) != 1:
            raise ValueError(f"GraphedDetector: expected one cloud at a time, got {len(points)}")
        pillars = self.detector.pillar_encoder(points)
        count = len(pillars.coords)
        if count == 0:
            return self.detector.predict_points(points)  # type: ignore[no-any-return]
        size = min(-(-count // self.bucket) * self.bucket, self.grid.num_cells)
        inputs = frame_inputs(self.graph, pillars, size)
        return self.detector.head.predict(self._run(inputs))  # type: ignore[no-any-return]

    def _run(self, inputs: dict[str, Tensor]) -> HeadOutputs:
        names, tensors = tuple(inputs), list(inputs.values())
        key = (*(tuple(t.shape) for t in tensors), autocast_type(tensors[0]), tensors[0].device)
        if key not in self._captured:

            def run(*values: Tensor) -> HeadOutputs:
                return self.graph(**dict(zip(names, values, strict=True)))

            self._captured[key] = CapturedGraph(run, tensors)
        return self._captured[key](tensors)  # type: ignore[no-any-return]
