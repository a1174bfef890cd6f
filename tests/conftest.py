"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# The fused kernels run in Triton's interpreter. It is chosen when triton is first imported, which
# other libraries may do.
os.environ["TRITON_INTERPRET"] = "1"

pytest_plugins = ["exported_fixtures"]

REPO = Path(__file__).resolve().parent.parent


def _shared(name: str) -> Path:
    path = Path(os.environ.get("PADRE3D_SHARED", REPO.parent / "shared")) / name
    if not path.is_dir():
        pytest.skip(f"{path} is absent: reference arrays and real frames are not shipped")
    return path


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return REPO


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Arrays of the reference implementation."""
    return _shared("golden")


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Real nuScenes frames."""
    return _shared("real")


@pytest.fixture(scope="session")
def tiny_nuscenes(tmp_path_factory) -> Path:
    """A prepared synthetic data set: two scenes of 5 frames, one to train and one to validate."""
    pytest.importorskip("mmdet3d")
    pytest.importorskip("embreex")
    from padre3d.data.prepare import prepare_nuscenes
    from padre3d.synthetic import generate

    root = tmp_path_factory.mktemp("tiny_nuscenes") / "set"
    generate(root, num_scenes=2, seed=0, scene_seconds=2.5)
    prepare_nuscenes(root, "v1.0-mini")
    return root
