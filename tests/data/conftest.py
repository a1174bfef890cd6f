"""The frames of the tiny data set, and the registration of what configs name."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.registry import DefaultScope
from tiny_nuscenes import write_tiny_nuscenes

pytest.importorskip("mmdet3d")
import padre3d.plugin  # noqa: E402, F401
from padre3d.data.datasets import NuScenesSweepsDataset  # noqa: E402
from padre3d.structures.classes import NUSCENES_CLASSES  # noqa: E402


@pytest.fixture(scope="session")
def val_dataset(tiny_nuscenes) -> NuScenesSweepsDataset:
    """The frames to validate on, under the ten classes."""
    return NuScenesSweepsDataset(
        str(tiny_nuscenes),
        "nuscenes_infos_val.pkl",
        data_prefix=dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP"),
        metainfo=dict(classes=NUSCENES_CLASSES),
        test_mode=True,
    )


@pytest.fixture
def raw_root(tmp_path) -> Path:
    """A data set of one's own to break, not prepared."""
    return write_tiny_nuscenes(tmp_path / "nuscenes")


@pytest.fixture(autouse=True)
def _scope():
    """Configs name modules of mmdet3d without its name."""
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        yield
