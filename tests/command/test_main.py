"""The command padre3d on an exported detector, with a sample and models of the test's own."""

import numpy as np
import pytest
from packaged_models import rename, write_sample
from small_detector import cloud

from padre3d import models
from padre3d.command.main import main
from padre3d.deploy import Runtime
from padre3d.io.boxes_json import read_boxes_json
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES

TRUTH = Detections(np.array([[1.0, 2, 0, 4, 2, 1.5, 0, 0, 0]]), np.ones(1), np.zeros(1, int))


@pytest.fixture
def packaged(monkeypatch, tmp_path, packaged_padre):
    """Two models and a sample where the package looks for them."""
    root = tmp_path / "models"
    root.mkdir()
    monkeypatch.setattr(models, "ROOT", root)
    for name, nds in (("worse", 0.1), ("better", 0.2)):
        rename(packaged_padre, root / name, nds=nds)
    write_sample(root, TRUTH, NUSCENES_CLASSES)
    return root


def test_the_best_model_comes_first_and_says_where_it_is_from(packaged):
    assert models.model_names() == ("better", "worse")
    assert models.model_folder() == packaged / "better"
    said = models.model_info("worse")
    assert (said["nds"], said["map"], said["num_sweeps"], said["stride"]) == (0.1, 0.05, 3, 4)
    assert said["not_for"] == "anything"
    with pytest.raises(ValueError, match="expected one of better, worse, got 'none'"):
        models.model_folder("none")


def test_runtime_from_the_package(packaged, packaged_padre, exported_padre):
    found = Runtime.from_package("worse")(exported_padre.cloud)
    expected = Runtime(packaged_padre)(exported_padre.cloud)
    np.testing.assert_allclose(found.boxes, expected.boxes)
    with pytest.raises(ValueError, match="expected one of better, worse"):
        Runtime.from_package("none")


def test_without_a_model_the_error_says_what_to_name(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "ROOT", tmp_path)
    with pytest.raises(
        SystemExit, match="no model came with this package; name an exported folder"
    ):
        main(["detect"])


def test_detect_without_arguments_finds_boxes_in_the_sample(
    packaged, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    main(["detect", "--score-thr", "0.05"])
    folder = tmp_path / "padre3d_sample"
    written = capsys.readouterr().out
    for name in ("boxes.json", "view.png", "view.html"):
        assert (folder / name).stat().st_size > 0
        assert f"padre3d_sample/{name}: " in written
    found = read_boxes_json(folder / "boxes.json", NUSCENES_CLASSES)
    points = np.fromfile(packaged / models.SAMPLE, "<f2").reshape(-1, 5).astype(np.float32)
    expected = Runtime.from_package()(points)
    kept = expected.select(expected.scores >= 0.05)
    np.testing.assert_allclose(found.boxes, kept.boxes, atol=1e-3)
    assert len(kept.scores) > 0
    assert "ground truth" in (folder / "view.html").read_text()


def test_the_samples_boxes_have_the_name_of_their_format(tmp_path, monkeypatch, capsys):
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    main(["detect", "--format", "csv"])
    written = {path.name for path in (tmp_path / "padre3d_sample").iterdir()}
    assert written == {"boxes.csv", "view.png", "view.html"}
    assert "padre3d_sample/boxes.csv: " in capsys.readouterr().out


def test_detect_on_files_is_what_the_tool_does(packaged, tmp_path, repo_root, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import infer

    path = tmp_path / "a.npy"
    np.save(path, cloud(1500).numpy())
    rest = [str(path), "--time-lag", "--score-thr", "0.05", "--format", "csv"]
    main(["detect", "--model", str(packaged / "worse"), *rest])
    ours = capsys.readouterr().out
    infer.main(["config.py", str(packaged / "worse"), *rest])
    assert ours == capsys.readouterr().out
    assert ours.count("\n") > 1


def test_sweeps_are_joined_as_the_model_learnt_them(packaged, tmp_path, monkeypatch, capsys):
    """Three sweeps, four apart: of nine clouds a twentieth of a second apart, the last three."""
    folder = tmp_path / "in"
    folder.mkdir()
    points = np.c_[cloud(300).numpy()[:, :4], np.zeros(300)].astype(np.float32)
    rows = ["stamp,x,y,z,qw,qx,qy,qz"]
    for number in range(9):
        np.save(folder / f"{number}.npy", points)
        rows.append(f"{number * 0.05},0,0,0,1,0,0,0")
    (tmp_path / "poses.csv").write_text("\n".join(rows) + "\n")
    seen = []
    monkeypatch.setattr(Runtime, "__call__", lambda _, points: seen.append(points) or TRUTH)
    main(
        [
            *("detect", str(folder), "--poses", str(tmp_path / "poses.csv")),
            *("--no-time-lag", "--out", str(tmp_path / "out")),
        ]
    )
    lags = sorted({round(float(lag), 3) for lag in seen[-1][:, 4]})
    assert lags == [0.0, 0.2, 0.4]


def test_inspect_is_the_report(tmp_path, capsys):
    path = tmp_path / "a.npy"
    np.save(path, cloud(500).numpy())
    main(["inspect", str(path), "--range", "9.6"])
    assert "  points     500" in capsys.readouterr().out


def test_inspect_needs_no_packaged_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("padre3d.command.inspect.model_names", lambda: ())
    path = tmp_path / "a.npy"
    np.save(path, cloud(500).numpy())
    main(["inspect", str(path)])
    assert "trained on 10 sweeps" in capsys.readouterr().out


def test_inspect_judges_by_the_model_of_detect(tmp_path, capsys):
    points = np.c_[cloud(900).numpy()[:, :4], np.repeat([0, 0.2, 0.4], 300)].astype(np.float32)
    path = tmp_path / "a.npy"
    np.save(path, points)
    main(["inspect", str(path)])
    main(["inspect", str(path), "--model", models.model_names()[-1]])
    said = capsys.readouterr().out
    assert said.count("3 sweeps; trained on 3 sweeps of about 24,000\n") == 2
    assert "of 10 sweeps" not in said
    main(["inspect", str(path), "--range", "9.6"])
    assert "3 sweeps; trained on 3 sweeps\n" in capsys.readouterr().out


def test_export_info_names_inputs_and_where_the_model_is_from(packaged, capsys):
    main(["export-info", "better"])
    said = capsys.readouterr().out
    span = "-10.8 -10.8 -5 10.8 10.8 3 m"
    for text in ("fp16", "car, truck", span, "model.onnx", "not for", "0.2", "nds 0.08 to 0.12"):
        assert text in said
    main(["export-info", str(packaged / "worse")])
    assert "0.1" in capsys.readouterr().out


def test_a_damaged_model_is_an_error_of_one_line(packaged):
    path = packaged / "better" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SystemExit, match=r"^error: .*model\.onnx: expected the exported file"):
        main(["export-info"])
    (packaged / "worse" / models.INFO).write_text('{"num_sweeps": 0}')
    with pytest.raises(SystemExit, match=r"^error: .*info\.json: expected what"):
        main(["export-info", "worse"])
