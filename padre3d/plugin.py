"""The one import that registers everything with mmdet3d.

Name it in a config: ``custom_imports = dict(imports=['padre3d.plugin'])``.
"""

from __future__ import annotations

import sys


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


_without_broken_open3d()

from mmdet3d.registry import MODELS  # noqa: E402

from padre3d.backbone import VoxelBackbone  # noqa: E402
from padre3d.bev import ResidualBEVBackbone  # noqa: E402
from padre3d.checkpoint import allow_training_checkpoints  # noqa: E402
from padre3d.detector import PADReDetector  # noqa: E402
from padre3d.head import TransFusionHead  # noqa: E402
from padre3d.pillars import DynamicPillarEncoder  # noqa: E402

allow_training_checkpoints()
for _module in (
    PADReDetector,
    DynamicPillarEncoder,
    VoxelBackbone,
    ResidualBEVBackbone,
    TransFusionHead,
):
    MODELS.register_module(module=_module)
