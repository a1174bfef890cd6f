"""One export for the tests that only look at it."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tiny_detector import MIXERS, build_detector, make_cloud


class ExportedDetector(NamedTuple):
    """An export with dynamic pillars and what it was made from."""

    detector: torch.nn.Module
    cloud: np.ndarray
    folder: Path
    manifest: dict[str, Any]
    comparisons: list


def export_once(mixer, folder, config=None) -> ExportedDetector:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from padre3d.export.export import export_detector

    detector = build_detector(mixer)
    cloud = make_cloud(1500)
    manifest, results = export_detector(
        detector, {"frame": torch.from_numpy(cloud)}, folder, config, about={"config": "tiny.py"}
    )
    return ExportedDetector(detector, cloud, folder, manifest, results)


@pytest.fixture(
    scope="session",
    params=[
        "padre",
        "attention",
        "grid",
        pytest.param("padre on sets", marks=pytest.mark.slow),
        pytest.param("grid and sequence", marks=pytest.mark.slow),
    ],
)
def exported(request):
    """Exports of every mixer, made when first asked for."""
    return request.getfixturevalue(f"exported_{request.param.replace(' ', '_')}")


@pytest.fixture(scope="session")
def exported_padre(tmp_path_factory):
    return export_once(MIXERS["padre"], tmp_path_factory.mktemp("padre") / "out")


@pytest.fixture(scope="session")
def exported_attention(tmp_path_factory):
    return export_once(MIXERS["attention"], tmp_path_factory.mktemp("attention") / "out")


@pytest.fixture(scope="session")
def exported_padre_on_sets(tmp_path_factory):
    return export_once(MIXERS["padre on sets"], tmp_path_factory.mktemp("sets") / "out")


@pytest.fixture(scope="session")
def exported_grid(tmp_path_factory):
    return export_once(MIXERS["grid"], tmp_path_factory.mktemp("grid") / "out")


@pytest.fixture(scope="session")
def exported_grid_and_sequence(tmp_path_factory):
    return export_once(MIXERS["grid and sequence"], tmp_path_factory.mktemp("mixed") / "out")


@pytest.fixture(scope="session")
def masked_parts(tmp_path_factory):
    """Two files that can be padded."""
    from padre3d.export.export import ExportConfig

    config = ExportConfig(parts="backbone,dense", masked=True)
    return export_once(MIXERS["padre"], tmp_path_factory.mktemp("parts") / "out", config)
