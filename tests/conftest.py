"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

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
