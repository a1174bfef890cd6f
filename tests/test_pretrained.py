"""The trained models that come with the package: torch and the runtime, cards, checksums."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from packaged_models import load_tool

pytest.importorskip("mmdet3d")
pytest.importorskip("onnxruntime")

import padre3d
from padre3d import models
from padre3d.detector import PADReDetector
from padre3d.inference import init_model
from padre3d.io import load_points
from padre3d.runtime import Runtime
from padre3d.runtime.folder import sha256

NAMES = padre3d.list_models()
MOST_BYTES = 31e6  # as they lie there; the wheel, compressed, has a limit of its own
LEAST_SCORE = 0.1


@pytest.fixture(scope="module")
def sample():
    return load_points(models.sample_cloud()[0], time_lag=True)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The first model where its files may be broken."""
    shutil.copytree(models.model_folder(), tmp_path / "copy")
    monkeypatch.setattr(models, "ROOT", tmp_path)
    return tmp_path / "copy"


def test_the_names_are_those_of_the_runtime():
    assert set(NAMES) == set(models.model_names())
    assert {"attention_synthetic", "padre2_grid_synthetic", "padre2_full_synthetic"} <= set(NAMES)
    scores = [models.model_info(name)["nds"] for name in NAMES]
    assert scores == sorted(scores, reverse=True)
    assert padre3d.list_models("padre2*") == [name for name in NAMES if name.startswith("padre2")]


def test_the_package_itself_needs_nothing():
    program = (
        "import sys, padre3d; names = padre3d.list_models(); print(*names); "
        "assert not {'torch', 'numpy', 'mmengine'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == NAMES
    assert {"create_model", "detect", "list_models"} <= set(dir(padre3d))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        padre3d.nothing  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_torch_and_the_runtime_find_the_same_boxes(name, sample):
    """The graph is in 16 bit: few boxes fall to a tie of two proposals, all others are equal."""
    model = padre3d.create_model(name, pretrained=True)
    assert isinstance(model, PADReDetector)
    assert not model.training
    found, expected = Runtime.from_package(name)(sample), padre3d.detect(model, sample)
    assert abs(len(found.scores) - len(expected.scores)) <= 3
    expected = expected.select(expected.scores >= LEAST_SCORE)
    distance = np.abs(found.boxes[:, None, :3] - expected.boxes[:, :3]).max(2)
    distance[found.labels[:, None] != expected.labels] = np.inf
    rows, same = distance.argmin(0), distance.min(0) < 0.02
    assert len(same) > 50
    assert same.mean() >= 0.95
    found, expected = found.select(rows[same]), expected.select(same)
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-3)
    np.testing.assert_allclose(found.boxes[:, 3:6], expected.boxes[:, 3:6], atol=0.02)
    # A heading that was not learnt is the direction of a short vector.
    turn = np.exp(1j * (found.boxes[:, 6] - expected.boxes[:, 6]))
    np.testing.assert_allclose(turn, 1, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_are_those_of_the_config(name, repo_root):
    """The same weights in the config's own detector give the same raw outputs."""
    config = repo_root / "configs" / models.model_info(name)["config"]
    path = models.model_folder(name) / models.WEIGHTS
    ours, theirs = padre3d.create_model(name, pretrained=True), init_model(config, path)
    cloud = torch.rand(500, 5, generator=torch.Generator().manual_seed(0)) * 40 - 4
    with torch.no_grad():
        for a, b in zip(ours.forward_points([cloud]), theirs.forward_points([cloud]), strict=True):
            assert torch.equal(a, b)
    assert ours.head.decode_settings == theirs.head.decode_settings
    assert ours.class_names == theirs.class_names


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_where_its_model_is_from(name):
    card, folder = models.model_info(name), models.model_folder(name)
    words = ("trained_on", "scored_on", "command", "licence", "not_for", "config", "commit")
    assert all(len(card[key]) > 5 for key in words)
    assert min(card[key] for key in ("steps", "hours", "epochs", "parameters")) > 0
    for key in ("nds", "map", "mate_m", "mase", "maoe_rad", "mave_mps", "maae"):
        low, high = card["intervals_95"][key]
        assert low < card[key] < high
    assert {models.WEIGHTS, models.SETTINGS} == set(card["sha256"])
    for file, digest in card["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
    for file, size in card["bytes"].items():
        assert (folder / file).stat().st_size == size


def test_the_package_stays_small():
    assert sum(path.stat().st_size for path in models.ROOT.rglob("*")) < MOST_BYTES


def test_the_page_says_what_the_cards_say(repo_root):
    load_tool(repo_root / "tools", "models_page").main(["--check"])


def test_a_page_that_says_other_things_is_found(repo_root, tmp_path):
    tool, page = load_tool(repo_root / "tools", "models_page"), tmp_path / "page.md"
    page.write_text(f"a\n{tool.START}| old |\n{tool.END}\nb\n")
    with pytest.raises(SystemExit, match="expected the tables of the cards"):
        tool.main(["--check", "--page", str(page)])
    tool.main(["--page", str(page)])
    tool.main(["--check", "--page", str(page)])
    assert page.read_text().startswith("a\n")
    assert "padre2_grid_synthetic" in page.read_text()
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="page: expected <!-- models -->"):
        tool.main(["--page", str(page)])


def test_what_is_refused(copied):
    with pytest.raises(ValueError, match="model: expected one of copy, got 'none'"):
        padre3d.create_model("none")
    with pytest.raises(TypeError, match="num_classes"):
        padre3d.create_model("copy", num_classes=3)
    with pytest.raises(ValueError, match="unexpected keyword argument 'nothing'"):
        padre3d.create_model("copy", changes={"model.head.nothing": 3})
    with pytest.raises(ValueError, match=r"that start with model\., got \['head.num_proposals'\]"):
        padre3d.create_model("copy", changes={"head.num_proposals": 30})
    with pytest.raises(ValueError, match="does not fit the model"):
        padre3d.create_model("copy", True, changes={"model.backbone.dim": 32})
    with pytest.raises(ValueError, match="--device: expected cpu"):
        padre3d.create_model("copy", device="gpu")


@pytest.mark.parametrize("missing", ["mmcv._ext", "mmengine.config"])
def test_a_missing_detection_stack_is_named_with_what_installs_it(missing):
    """As after pip's own build of mmcv, which has no operators."""
    program = (
        "import sys, padre3d\n"
        f"sys.modules[{missing!r}] = None\n"
        "try:\n    padre3d.create_model('')\n"
        "except ImportError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "a detector needs mmdet3d and an mmcv with compiled operators" in run.stdout, run.stderr
    assert "`make install` (tools/install.sh)" in run.stdout
    assert missing in run.stdout


@pytest.mark.parametrize("file", [models.WEIGHTS, models.SETTINGS])
def test_files_that_are_not_the_packaged_ones(copied, file):
    path = copied / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=rf"{file}: expected the .*file with sha256"):
        padre3d.create_model("copy", pretrained=True)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=file):
        padre3d.create_model("copy", pretrained=True)


def test_a_card_without_checksums(copied):
    card = json.loads((copied / models.INFO).read_text())
    del card["sha256"]
    (copied / models.INFO).write_text(json.dumps(card))
    with pytest.raises(FileNotFoundError, match=r"expected model\.json in its card"):
        padre3d.create_model("copy")
    (copied / models.INFO).write_text(json.dumps({**card, "sha256": ["a"]}))
    with pytest.raises(ValueError, match="expected checksums by name"):
        padre3d.create_model("copy")


def test_random_weights_and_changes(copied):
    torch.manual_seed(0)
    model = padre3d.create_model("copy", changes={"model.head.num_proposals": 30})
    trained = padre3d.create_model("copy", pretrained=True)
    assert model.head.selector.num_proposals == 30
    assert trained.head.selector.num_proposals == 150
    key = next(name for name, value in model.named_parameters() if value.ndim == 2)
    assert not torch.equal(model.state_dict()[key], trained.state_dict()[key])
    assert sha256(copied / models.WEIGHTS) == models.model_info("copy")["sha256"][models.WEIGHTS]
