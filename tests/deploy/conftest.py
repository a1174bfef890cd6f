"""One export for the tests that only look at it."""

import pytest
import torch
from tiny_detector import MIXERS, build_detector, make_cloud


@pytest.fixture(scope="session", params=MIXERS.values(), ids=MIXERS)
def exported(request, tmp_path_factory):
    """(detector, cloud, folder, manifest, comparisons) of an export with dynamic pillars."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from padre3d.deploy.export import export_detector

    detector = build_detector(request.param)
    cloud = make_cloud(1500)
    folder = tmp_path_factory.mktemp("export") / "out"
    manifest, results = export_detector(
        detector, {"frame": torch.from_numpy(cloud)}, folder, about={"config": "tiny.py"}
    )
    return detector, cloud, folder, manifest, results
