"""One export for the tests that only look at it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class ExportedDetector:
    """An export with dynamic pillars and what it was made from."""

    detector: torch.nn.Module
    cloud: np.ndarray
    folder: Path
    manifest: dict[str, Any]
    comparisons: list


def export_once(name, folder, config=None) -> ExportedDetector:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    import small_detector

    from padre3d.export.export import export_detector

    detector = small_detector.build(**small_detector.MIXERS[name])
    cloud = small_detector.cloud(1500)
    manifest, results = export_detector(
        detector, {"frame": cloud}, folder, config, about={"config": "small.py"}
    )
    return ExportedDetector(detector, cloud.numpy(), folder, manifest, results)


@pytest.fixture(
    scope="session",
    params=[
        "padre",
        "attention",
        "grid",
        pytest.param("padre on sets", marks=pytest.mark.slow),
        pytest.param("grid and sequence", marks=pytest.mark.slow),
        "grid with blocks",
    ],
)
def exported(request):
    """Exports of every mixer, made when first asked for."""
    return request.getfixturevalue(f"exported_{request.param.replace(' ', '_')}")


@pytest.fixture(scope="session")
def exported_padre(tmp_path_factory):
    return export_once("padre", tmp_path_factory.mktemp("padre") / "out")


@pytest.fixture(scope="session")
def exported_attention(tmp_path_factory):
    return export_once("attention", tmp_path_factory.mktemp("attention") / "out")


@pytest.fixture(scope="session")
def exported_padre_on_sets(tmp_path_factory):
    return export_once("padre on sets", tmp_path_factory.mktemp("sets") / "out")


@pytest.fixture(scope="session")
def exported_grid(tmp_path_factory):
    return export_once("grid", tmp_path_factory.mktemp("grid") / "out")


@pytest.fixture(scope="session")
def exported_grid_with_blocks(tmp_path_factory):
    return export_once("grid with blocks", tmp_path_factory.mktemp("blocks") / "out")


@pytest.fixture(scope="session")
def exported_grid_and_sequence(tmp_path_factory):
    return export_once("grid and sequence", tmp_path_factory.mktemp("both") / "out")


@pytest.fixture(scope="session")
def masked_parts(tmp_path_factory):
    """Two files that can be padded."""
    from padre3d.export.export import ExportConfig

    config = ExportConfig(parts="backbone,dense", masked=True)
    return export_once("padre", tmp_path_factory.mktemp("parts") / "out", config)


@pytest.fixture(scope="session")
def packaged_padre(tmp_path_factory, exported_padre):
    """The folder that tools/package_model.py makes of the detector of ``exported_padre``."""
    from packaged_models import package, training_files

    root = tmp_path_factory.mktemp("packaged")
    tools = Path(__file__).resolve().parent.parent / "tools"
    package(tools, training_files(exported_padre.detector, root), "made", root)
    return root / "made"
