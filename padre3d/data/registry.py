"""What configs may name from this package; ``padre3d.plugin`` calls :func:`register`."""

from __future__ import annotations

from mmdet3d.registry import DATASETS, HOOKS, METRICS, TRANSFORMS

from padre3d.data.datasets import NuScenesSweepsDataset, SeededCBGSDataset
from padre3d.data.gt_sampling import FadeGroundTruthSampling, SampleGroundTruth
from padre3d.data.loading import LoadSweeps
from padre3d.data.metric import NuScenesDetectionMetric

MODULES = (
    (DATASETS, NuScenesSweepsDataset),
    (DATASETS, SeededCBGSDataset),
    (TRANSFORMS, LoadSweeps),
    (TRANSFORMS, SampleGroundTruth),
    (HOOKS, FadeGroundTruthSampling),
    (METRICS, NuScenesDetectionMetric),
)


def register() -> None:
    """Register every module with mmdet3d; again is harmless."""
    for registry, module in MODULES:
        registry.register_module(module=module, force=True)
