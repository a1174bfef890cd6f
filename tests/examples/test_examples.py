"""Every example runs, does what it says and stays under 60 lines."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model_libraries import import_or_skip
from small_detector import MODEL, cloud

from padre3d.io.boxes_json import write_boxes_json
from padre3d.structures.boxes import Detections

LONGER = ("char_lm.py",)  # a study with tables


@pytest.fixture
def example(repo_root):
    def load(name):
        path = repo_root / f"examples/{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_examples_are_short_and_all_of_them_are_tested(repo_root):
    tests = (repo_root / "tests/examples/test_examples.py").read_text()
    paths = [p for p in (repo_root / "examples").glob("*.py") if p.name not in LONGER]
    assert [p.name for p in paths if len(p.read_text().splitlines()) > 60] == []
    assert [p.name for p in paths if f'example("{p.stem}")' not in tests] == []


def test_padre_learns_a_product_of_neighbours(example):
    assert example("padre_in_your_network").accuracy() > 0.8


def test_a_mixer_from_outside_keeps_the_promises(example):
    from padre3d.mixers import MIXERS

    before = set(MIXERS)
    try:
        assert example("custom_mixer").main() < 1e-5
        assert set(MIXERS) - before == {"gated_mean"}
    finally:
        MIXERS.pop("gated_mean", None)


def test_padre_in_a_timm_vit(example):
    import_or_skip("timm")
    assert example("padre_in_timm_vit").main().shape == (1, 10)


def test_a_cloud_of_ones_own(example, exported_padre, tmp_path, monkeypatch):
    pytest.importorskip("plotly")
    np.save(tmp_path / "a.npy", cloud(500).numpy()[:, :4])
    module, drawn = example("detect_own_cloud"), []
    draw = module.draw_bev
    monkeypatch.setattr(
        module, "draw_bev", lambda *a, **how: drawn.append(how["range_m"]) or draw(*a, **how)
    )
    found = module.main(str(exported_padre.folder), str(tmp_path / "a.npy"), str(tmp_path / "out"))
    assert found > 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"boxes.json", "view.png", "view.html"}
    assert drawn == [max(abs(side) for side in MODEL["grid"]["range_m"][:2])]


def test_the_loop_of_a_sensor(example, exported_padre):
    counts = example("runtime_loop").main(str(exported_padre.folder), sweeps=4, every=2)
    assert len(counts) == 2
    # Without a name the first packaged model, with the sweeps that its card says.
    assert len(example("runtime_loop").main("", sweeps=2, every=2)) == 1


def test_own_annotations_are_scored(example, tmp_path):
    classes = ["shuttle", "bollard"]
    rows = np.array([[5.0, 2, 0, 4, 2, 2, 0, 0, 0], [9, -3, 0, 1, 1, 1, 0, 0, 0]])
    truth = Detections(rows, np.ones(2), np.array([0, 1]))
    found = Detections(rows + [0.3, 0, 0, 0, 0, 0, 0, 0, 0], np.array([0.8, 0.4]), np.array([0, 0]))
    for name in ("a", "b"):
        write_boxes_json(tmp_path / "truth" / f"{name}.json", truth, classes)
        write_boxes_json(tmp_path / "found" / f"{name}.json", found, classes)
    scored = example("score_own_data").main(
        str(tmp_path / "found"), str(tmp_path / "truth"), *classes
    )
    assert scored["shuttle"] > 0.99  # the wrong ones come after all the right ones
    assert scored["bollard"] == 0


@pytest.fixture
def scored_folders(tmp_path):
    """FOUND with boxes of ten classes, TRUTH with those of another two as well."""
    row = np.array([[5.0, 2, 0, 4, 2, 2, 0, 0, 0]])
    for folder, names in (("found", ["cone", "shuttle"]), ("truth", ["shuttle", "dog"])):
        boxes = Detections(np.repeat(row, 2, 0), np.ones(2), np.array([0, 1]))
        write_boxes_json(tmp_path / folder / "a.json", boxes, names)
    return str(tmp_path / "found"), str(tmp_path / "truth")


def test_boxes_of_other_classes_are_not_scored(example, scored_folders):
    assert example("score_own_data").main(*scored_folders, "shuttle") == {
        "shuttle": pytest.approx(1.0)
    }


def test_a_folder_without_annotations_has_no_score(example, scored_folders, tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match=r"expected a folder with a JSON for every frame"):
            example("score_own_data").main(scored_folders[0], str(folder), "shuttle")


def test_a_frame_without_a_file_of_boxes_is_named(scored_folders, repo_root):
    (Path(scored_folders[0]) / "a.json").unlink()
    script = repo_root / "examples/score_own_data.py"
    done = subprocess.run(
        [sys.executable, script, *scored_folders, "shuttle"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: \S*found/a\.json: .*No such file.*", done.stderr.strip())
