"""Pictures, pages and the packaged sample from frames of a test set."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("mmdet3d")
pytest.importorskip("plotly")
from mmengine.config import Config
from small_detector import MODEL, RANGE_M

from padre3d import models
from padre3d.io import load_points
from padre3d.io.boxes_json import read_boxes_json
from padre3d.structures.classes import NUSCENES_CLASSES


@pytest.fixture
def config(repo_root, tiny_nuscenes, tmp_path, monkeypatch):
    """A config of the tiny detector on the tiny data set, which says that it is synthetic."""
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    root = tmp_path / "data"
    root.mkdir()
    for path in tiny_nuscenes.iterdir():
        (root / path.name).symlink_to(path)
    cfg = Config.fromfile(repo_root / "configs/dsvt_padre2_synthetic.py")
    cfg.test_dataloader.dataset.data_root = str(root)
    cfg.model = MODEL
    cfg.dump(tmp_path / "c.py")
    return tmp_path / "c.py"


def test_a_picture_and_a_page_with_an_exported_folder(
    config, exported_padre, tmp_path, capsys, monkeypatch
):
    import draw

    ranges, pair = [], draw.draw_bev_pair
    monkeypatch.setattr(
        draw, "draw_bev_pair", lambda *a, **k: (ranges.append(k["range_m"]), pair(*a, **k))
    )
    out, page = tmp_path / "a.png", tmp_path / "a.html"
    arguments = [str(config), str(exported_padre.folder), "--out", str(out), "--html", str(page)]
    draw.main([*arguments, "--count", "2", "--score-thr", "0.4"])
    (text,) = re.findall(r'id="scene">(.*?)</script>', page.read_text(), re.DOTALL)
    scene = json.loads(text)
    assert [frame["name"] for frame in scene["frames"]] == ["frame 0", "frame 1"]
    assert scene["has_truth"]
    assert scene["range_m"][:2] == [[-RANGE_M, RANGE_M]] * 2
    assert ranges == [RANGE_M]
    assert scene["least"] == 0.4
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert f"{page}: 2 frames" in capsys.readouterr().out


def test_what_cannot_be_drawn(config, exported_padre, tmp_path):
    import draw

    arguments = [str(config), str(exported_padre.folder)]
    for options, match in (
        ((), "expected --out or --html"),
        (("--out", "a.png", "--count", "2"), "--count: expected --html"),
        (("--html", "a.html", "--count", "0"), "--count: expected 1 or more"),
        (("--html", "a.html", "--device", "cpu"), "--device: expected a checkpoint"),
        (("--html", "a.html", "--count", "99"), "--frame: expected 0"),
    ):
        with pytest.raises(SystemExit, match=match):
            draw.main([*arguments, *options])


def test_the_sample_is_a_synthetic_frame_with_its_boxes(config, tmp_path, monkeypatch):
    import package_sample

    into = tmp_path / "models"
    into.mkdir()
    arguments = [str(config), "--frame", "1", "--into", str(into)]
    with pytest.raises(SystemExit, match=r"expected data of tools/make_synthetic\.py"):
        package_sample.main(arguments)
    (tmp_path / "data/statistics.json").write_text("{}")
    package_sample.main(arguments)
    monkeypatch.setattr(models, "ROOT", into)
    cloud, boxes = models.sample_cloud()
    points = load_points(cloud, time_lag=True)
    assert len(points) > 100
    assert np.abs(points[:, :2]).max() <= RANGE_M
    assert len(np.unique(points[:, 4])) > 1
    read_boxes_json(boxes, NUSCENES_CLASSES)
