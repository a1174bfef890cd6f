"""A tiny data set, made once."""

from pathlib import Path

import pytest

NUM_SWEEPS = 60
SEED = 0


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("embreex")
    from padre3d.synthetic import generate

    root = tmp_path_factory.mktemp("synthetic") / "data"
    generate(root, num_scenes=2, seed=SEED, scene_seconds=NUM_SWEEPS / 20)
    return root


@pytest.fixture(scope="session")
def nusc(generated: Path):  # noqa: ANN201 - the devkit is optional
    nuscenes = pytest.importorskip("nuscenes")
    return nuscenes.NuScenes("v1.0-mini", str(generated), verbose=False)
