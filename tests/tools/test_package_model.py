"""tools/package_model.py: a checkpoint becomes weights, graph and card, or nothing."""

import json

import pytest
import torch
from packaged_models import COMMIT, METRICS, package, training_files

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from padre3d import models
from padre3d.runtime import Runtime
from padre3d.runtime.folder import sha256
from padre3d.training.checkpoint import load_checkpoint_file


@pytest.fixture
def files(exported_padre, tmp_path):
    return training_files(exported_padre.detector, tmp_path)


def test_what_it_makes(packaged_padre, exported_padre):
    names = {models.INFO, models.WEIGHTS, models.SETTINGS, "manifest.json", "model.onnx"}
    assert {path.name for path in packaged_padre.iterdir()} == names | {"tables.npz"}
    card = json.loads((packaged_padre / models.INFO).read_text())
    expected = {"nds": 0.1, "map": 0.05, "intervals_95": {"nds": [0.08, 0.12]}}
    expected |= {"steps": 6, "epochs": 2, "seed": 0, "hours": 0.5, "commit": COMMIT}
    expected |= {"num_sweeps": 3, "stride": 4, "config": "small.py", "not_for": "anything"}
    assert {key: card[key] for key in expected} == expected
    for name, digest in card["sha256"].items():
        assert sha256(packaged_padre / name) == digest
    runtime = Runtime(packaged_padre)
    assert runtime.manifest.precision == "fp16"
    assert len(runtime(exported_padre.cloud).scores) > 0


def test_the_weights_are_the_checkpoint_s(packaged_padre, exported_padre):
    state = load_checkpoint_file(packaged_padre / models.WEIGHTS)
    expected = exported_padre.detector.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("name", "metrics", "match"),
    [
        ("a", {"mAP": 0.1}, r"metrics\.json: expected NDS in it, got mAP"),
        ("../a", METRICS, "name: expected letters"),
    ],
)
def test_no_score_and_no_name(files, repo_root, tmp_path, name, metrics, match):
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(SystemExit, match=match):
        package(repo_root / "tools", files, name, into, metrics)
    assert not list(into.glob("*"))


def test_a_checkpoint_without_a_commit(exported_padre, repo_root, tmp_path):
    files = training_files(exported_padre.detector, tmp_path, mmengine_version="0.10.7")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(SystemExit, match="--commit: expected one, for the checkpoint names none"):
        package(repo_root / "tools", files, "a", into)
    assert not list(into.glob("*"))
