"""Packaged models in other precisions than 16 bit: their boxes, cards and checksums, refusals."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from padre3d import models
from padre3d.command.main import main
from padre3d.io import load_points
from padre3d.runtime import Runtime
from padre3d.runtime.folder import sha256

BEST = "padre2_full_synthetic"
LEAST_SCORE = 0.15
OTHERS = [(name, p) for name in models.model_names() for p in models.model_precisions(name)[1:]]


@pytest.fixture(scope="module")
def sample():
    return load_points(models.sample_cloud()[0], time_lag=True)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The model where its files may be broken."""
    shutil.copytree(models.model_folder(BEST), tmp_path / BEST)
    monkeypatch.setattr(models, "ROOT", tmp_path)
    return tmp_path / BEST


def pairs(boxes, others, metres=0.5):
    """Boxes that have another one of their class so near, and these others, row by row."""
    distance = np.linalg.norm(boxes.boxes[:, None, :2] - others.boxes[:, :2], axis=2)
    distance[boxes.labels[:, None] != others.labels] = np.inf
    near = distance.min(1) < metres
    return boxes.select(near), others.select(distance.argmin(1)[near])


def test_the_best_one_comes_in_8_bit():
    assert models.model_names()[0] == BEST
    assert models.model_precisions() == ("fp16", "int8-cpu")
    assert models.model_folder(BEST, "fp16") == models.model_folder(BEST)
    assert models.model_folder(BEST, "int8-cpu") == models.ROOT / BEST / "int8-cpu"


@pytest.mark.parametrize(("name", "precision"), OTHERS)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_its_boxes_are_nearly_those_of_16_bit(name, precision, backend, sample):
    """On any processor, with or without VNNI; two of 54 boxes were others without."""
    pytest.importorskip(backend)
    with Runtime.from_package(name) as runtime:
        expected = runtime(sample)
    with Runtime.from_package(name, backend, precision=precision) as runtime:
        assert runtime.manifest.precision == precision
        found = runtime(sample)
    for some, others in ((expected, found), (found, expected)):
        some = some.select(some.scores >= LEAST_SCORE)
        assert len(some.scores) > 40
        same, theirs = pairs(some, others)
        assert len(same.scores) >= 0.9 * len(some.scores)
        assert np.abs(same.scores - theirs.scores).max() < 0.05
        assert np.median(np.abs(same.boxes[:, :6] - theirs.boxes[:, :6])) < 0.05


@pytest.mark.parametrize(("name", "precision"), OTHERS)
def test_a_card_says_what_made_the_files(name, precision):
    folder, model = models.model_folder(name, precision), models.model_info(name)
    card = models.folder_info(folder)
    assert all(len(card[key]) > 5 for key in ("command", "scored_on", "calibrated_on", "commit"))
    assert precision in card["command"]
    assert 0 < card["nds"] < model["nds"] + 0.005
    low, high = card["intervals_95"]["nds"]
    assert low < card["nds"] < high
    assert all(card[key] == model[key] for key in ("num_sweeps", "stride", "licence", "not_for"))
    for file, size in card["bytes"].items():
        assert (folder / file).stat().st_size == size
    for file, digest in json.loads((folder / "manifest.json").read_text())["sha256"].items():
        assert sha256(folder / file) == digest


def test_a_file_that_is_not_the_packaged_one(copied):
    path = copied / "int8-cpu" / "model.onnx"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"int8-cpu/model\.onnx: expected the exported file with"):
        Runtime.from_package(BEST, precision="int8-cpu")
    Runtime.from_package(BEST).close()


@pytest.mark.parametrize("precision", ["int8-trt", "", "../fp16", "int8-cpu/"])
def test_precisions_that_did_not_come(precision):
    said = f"precision: expected one of fp16, int8-cpu, which {BEST} comes in, got {precision!r}"
    with pytest.raises(ValueError, match=said):
        Runtime.from_package(precision=precision)


def test_a_model_in_16_bit_alone(copied):
    shutil.rmtree(copied / "int8-cpu")
    with pytest.raises(ValueError, match=f"one of fp16, which {BEST} comes in, got 'int8-cpu'"):
        models.model_folder(BEST, "int8-cpu")


def test_the_command_takes_the_precision(tmp_path, capsys):
    out = tmp_path / "boxes.json"
    cloud = [str(models.sample_cloud()[0]), "--time-lag"]
    words = ["--precision", "int8-cpu"]
    main(["detect", *cloud, "--model", BEST, *words, "--out", str(out)])
    expected = Runtime.from_package(BEST, precision="int8-cpu")(load_points(cloud[0]))
    boxes = json.loads(out.read_text())["boxes"]
    assert len(boxes) == (expected.scores >= 0.1).sum()
    capsys.readouterr()
    main(["export-info", BEST, *words])
    said = capsys.readouterr().out
    assert "calibrated on" in said
    assert str(models.ROOT / BEST / "int8-cpu") in said


@pytest.mark.parametrize("command", [["detect", "--model"], ["export-info"]])
def test_a_folder_has_its_own_precision(command):
    folder = str(models.model_folder(BEST))
    with pytest.raises(SystemExit, match="--precision: expected a packaged model, got the folder"):
        main([*command, folder, "--precision", "int8-cpu"])
    with pytest.raises(SystemExit, match="error: precision: expected one of fp16, int8-cpu"):
        main([*command, BEST, "--precision", "int4"])
