"""tools/package_precision.py: an export in another precision goes beside the packaged one."""

import json
import re
import shutil

import numpy as np
import pytest
from packaged_models import METRICS, load_tool, package_precision

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from padre3d import models
from padre3d.runtime import Runtime


@pytest.fixture
def model(packaged_padre, tmp_path, monkeypatch):
    """A copy of the packaged model, where the package looks for models."""
    root = tmp_path / "models"
    monkeypatch.setattr(models, "ROOT", root)
    return shutil.copytree(packaged_padre, root / "made")


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS))
    return path


def test_what_it_makes(model, exported_padre, metrics, repo_root, tmp_path):
    """Twice: the second one replaces the first."""
    for _ in range(2):
        package_precision(repo_root / "tools", exported_padre.folder, "made", metrics)
        assert models.model_precisions() == ("fp16", "fp32")
    names = {path.name for path in exported_padre.folder.iterdir()}
    assert {path.name for path in (model / "fp32").iterdir()} == names | {models.INFO}
    card = models.folder_info(model / "fp32")
    expected = {"nds": 0.1, "map": 0.05, "num_sweeps": 3, "stride": 4, "config": "small.py"}
    expected |= {"calibrated_on": "nothing", "scored_on": "no frame", "command": "none"}
    assert {key: card[key] for key in expected} == expected
    found = Runtime.from_package(precision="fp32")(exported_padre.cloud)
    np.testing.assert_array_equal(
        found.boxes, Runtime(exported_padre.folder)(exported_padre.cloud).boxes
    )
    tool, page = load_tool(repo_root / "tools", "models_page"), tmp_path / "page.md"
    page.write_text(f"{tool.START}{tool.END}")
    tool.main(["--page", str(page)])
    said = page.read_text()
    assert "| made | fp32 | 0.100 (0.080 - 0.120) | 0.050 | no frame | nothing |" in said
    assert "| made | `fp32/model.onnx` |" in said
    assert "- `made` in fp32: made by `none` at " in said


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("packaged_padre", "expected another precision than fp16"),
        ("exported_grid", r"tables\.npz: expected that of made, got others"),
    ],
)
def test_what_is_refused(model, metrics, repo_root, request, kind, match):
    made = request.getfixturevalue(kind)
    before = sorted(model.iterdir())
    with pytest.raises(SystemExit, match=match):
        package_precision(repo_root / "tools", getattr(made, "folder", made), "made", metrics)
    with pytest.raises(SystemExit, match=re.escape("model: expected one of made, got 'none'")):
        package_precision(repo_root / "tools", getattr(made, "folder", made), "none", metrics)
    assert sorted(model.iterdir()) == before
