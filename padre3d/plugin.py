"""The one import that registers everything with mmdet3d.

Name it in a config: ``custom_imports = dict(imports=['padre3d.plugin'])``.
"""

from __future__ import annotations

import os
import sys
import warnings


def _without_broken_open3d() -> None:
    """mmdet3d tolerates a missing Open3D, but not one whose system libraries are missing."""
    if "open3d" in sys.modules:
        return
    try:
        import open3d  # noqa: F401
    except ImportError:
        pass
    except OSError:
        sys.modules["open3d"] = None  # type: ignore[assignment]


def _without_spconv() -> None:
    """Leave spconv out where ``PADRE3D_SPCONV=0`` says that no layer needs it.

    Its import describes thousands of kernels, 6 to 17 seconds of every process. mmdet3d takes
    mmcv's operators for its own sparse layers then.
    """
    if os.environ.get("PADRE3D_SPCONV") == "0" and "spconv" not in sys.modules:
        sys.modules["spconv"] = None  # type: ignore[assignment]


_without_broken_open3d()
_without_spconv()
# mmdet3d imports spconv where it is installed, and spconv greets every process with eight of these.
warnings.filterwarnings("ignore", category=FutureWarning, module="spconv")

from mmdet3d.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS, TRANSFORMS  # noqa: E402

from padre3d.adapters import PillarMiddleEncoder, StockBEVBackbone  # noqa: E402
from padre3d.backbone import VoxelBackbone  # noqa: E402
from padre3d.bev import ResidualBEVBackbone  # noqa: E402
from padre3d.data.datasets import NuScenesSweepsDataset, SeededCBGSDataset  # noqa: E402
from padre3d.data.gt_sampling import SampleGroundTruth  # noqa: E402
from padre3d.data.loading import LoadSweeps  # noqa: E402
from padre3d.data.metric import NuScenesDetectionMetric  # noqa: E402
from padre3d.detector import PADReDetector  # noqa: E402
from padre3d.distill.detector import DistilledDetector  # noqa: E402
from padre3d.head import PADReTransFusionHead  # noqa: E402
from padre3d.pillars import DynamicPillarEncoder  # noqa: E402
from padre3d.training.checkpoint import allow_training_checkpoints  # noqa: E402
from padre3d.training.finite import FiniteLossHook  # noqa: E402
from padre3d.training.hooks import (  # noqa: E402
    ConsistencyHook,
    FadeGroundTruthSampling,
    PlainCheckpointHook,
    SharedStatisticsHook,
)
from padre3d.training.loop import ResumableTrainLoop  # noqa: E402
from padre3d.training.transfer import ClassTransferHook  # noqa: E402

_REGISTERED = {
    MODELS: (
        PADReDetector,
        DistilledDetector,
        DynamicPillarEncoder,
        VoxelBackbone,
        ResidualBEVBackbone,
        PADReTransFusionHead,
        PillarMiddleEncoder,
        StockBEVBackbone,
    ),
    DATASETS: (NuScenesSweepsDataset, SeededCBGSDataset),
    TRANSFORMS: (LoadSweeps, SampleGroundTruth),
    METRICS: (NuScenesDetectionMetric,),
    HOOKS: (
        ClassTransferHook,
        ConsistencyHook,
        FadeGroundTruthSampling,
        FiniteLossHook,
        PlainCheckpointHook,
        SharedStatisticsHook,
    ),
    LOOPS: (ResumableTrainLoop,),
}

allow_training_checkpoints()
for _registry, _modules in _REGISTERED.items():
    for _module in _modules:
        _registry.register_module(module=_module)
