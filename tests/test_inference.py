"""Loading weights strictly, and one cloud through a detector."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from padre3d.inference import detect, init_model, load_weights
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.structures.grid import PillarGrid


class NearestPoint(nn.Module):
    """Two boxes at the mean of the points it is shown, the better one second."""

    class_names = NUSCENES_CLASSES
    grid = PillarGrid((-54, -54, -5, 54, 54, 3), (0.3, 0.3))

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.seen = []

    def predict_points(self, points):
        self.seen.append(points[0])
        box = torch.cat([points[0][:, :3].mean(0), torch.tensor([4.0, 2, 1, 0, 0, 0])])
        return [Detections(box.expand(2, 9), torch.tensor([0.3, 0.9]), torch.tensor([1, 0]))]


def test_boxes_come_best_first():
    points = np.array([[1, 2, 0, 9, 0], [3, 4, 0, 9, 0]], np.float32)
    detections = detect(NearestPoint(), points)
    assert detections.scores.tolist() == pytest.approx([0.9, 0.3])
    assert detections.labels.tolist() == [0, 1]
    np.testing.assert_allclose(detections.boxes[0], [2, 3, 0, 4, 2, 1, 0, 0, 0])


def test_wrong_columns():
    with pytest.raises(ValueError, match=r"points: expected shape \(P, 5\), got \(3, 4\)"):
        detect(NearestPoint(), np.zeros((3, 4)))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "meta": {"epoch": 3}}])
def test_weights_are_loaded(tmp_path, wrap):
    source, target = NearestPoint(), NearestPoint()
    torch.save(wrap(source.state_dict()), tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    torch.testing.assert_close(target.layer.weight, source.layer.weight, rtol=0, atol=0)


def test_weights_of_a_distributed_model(tmp_path):
    source, target = NearestPoint(), NearestPoint()
    torch.save({f"module.{k}": v for k, v in source.state_dict().items()}, tmp_path / "w.pth")
    load_weights(nn.ModuleDict({"module": target}), tmp_path / "w.pth")
    torch.testing.assert_close(target.layer.bias, source.layer.bias, rtol=0, atol=0)


def test_checkpoint_of_another_config(tmp_path):
    model = NearestPoint()
    before = model.layer.weight.clone()
    extra = {f"neck.{i}": torch.zeros(1) for i in range(5)}
    torch.save({"layer.weight": torch.zeros(4, 2), **extra}, tmp_path / "w.pth")
    message = (
        r"w\.pth does not fit the model, it belongs to another config: 1 missing: layer\.bias; "
        r"5 unexpected: neck\.0, neck\.1, neck\.2, \.\.\.; "
        r"1 of another shape: layer\.weight \(expected \(3, 2\), got \(4, 2\)\)$"
    )
    with pytest.raises(ValueError, match=message):
        load_weights(model, tmp_path / "w.pth")
    torch.testing.assert_close(model.layer.weight, before, rtol=0, atol=0)


def test_file_that_is_no_checkpoint(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="expected a state_dict of tensors, got keys epoch"):
        load_weights(NearestPoint(), tmp_path / "w.pth")
    with pytest.raises(FileNotFoundError, match=r"config .*none\.py: expected a file"):
        init_model(tmp_path / "none.py", tmp_path / "w.pth")


@pytest.fixture
def infer(repo_root, monkeypatch, tmp_path_factory):
    """tools/infer.py around the stand-in detector, in a folder with its config file."""
    folder = tmp_path_factory.mktemp("infer")
    (folder / "c.py").write_text("model = dict()\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    sys.modules.pop("infer", None)
    import infer

    monkeypatch.setattr(infer, "init_model", lambda *_: NearestPoint())
    return infer


def cloud(path, x=1.0):
    np.array([[x, 2, 0, 9, 0], [np.nan, 2, 0, 9, 0]], np.float32).tofile(path)
    return str(path)


def test_infer_one_file(tmp_path, infer, capsys):
    points, out, png = cloud(tmp_path / "a.bin"), tmp_path / "b.json", tmp_path / "b.png"
    infer.main(["c.py", "w.pth", points, "--columns", "5", "--score-thr", "0.5"])
    printed = capsys.readouterr()
    infer.main(["c.py", "w.pth", points, "--columns", "5", "--out", str(out), "--png", str(png)])
    boxes = json.loads(out.read_text())["boxes"]
    assert [b["name"] for b in boxes] == ["car", "truck"]
    assert json.loads(printed.out)["boxes"] == boxes[:1]
    assert "1 points (1 with NaN or infinity dropped), 1 boxes" in printed.err
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_infer_a_folder_and_a_file(tmp_path, infer):
    folder = tmp_path / "in"
    folder.mkdir()
    cloud(folder / "a.pcd.bin", 5.0)
    arguments = ["c.py", "w.pth", str(folder), cloud(tmp_path / "z.pcd.bin", 7.0)]
    infer.main([*arguments, "--out", str(tmp_path / "out")])
    xs = {p.name: json.loads(p.read_text()) for p in (tmp_path / "out").iterdir()}
    assert {name: detections["boxes"][0]["center_m"][0] for name, detections in xs.items()} == {
        "a.pcd.json": 5.0,
        "z.pcd.json": 7.0,
    }


def test_infer_reports_bad_input_in_one_line(tmp_path, infer):
    with pytest.raises(SystemExit, match=r"error: .*none\.bin: expected a point file"):
        infer.main(["c.py", "w.pth", str(tmp_path / "none.bin")])
