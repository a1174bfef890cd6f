"""padre3d view: boxes that are there already, beside their clouds."""

import json
import re

import numpy as np
import pytest
from small_detector import cloud

from padre3d.command.main import main
from padre3d.io.boxes_json import write_boxes_json
from padre3d.structures.boxes import Detections

pytest.importorskip("plotly")


def boxes(x, score):
    row = [x, 2.0, 0, 4, 2, 1.5, 0, 0, 0]
    return Detections(np.array([row]), np.array([score]), np.zeros(1, int))


def scene_of(path):
    (text,) = re.findall(r'id="scene">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(text)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "in").mkdir()
    for number, name in enumerate("ab"):
        np.save(tmp_path / "in" / f"{name}.npy", cloud(100, number).numpy())
        write_boxes_json(tmp_path / "found" / f"{name}.json", boxes(1.0 + number, 0.5), ["tram"])
        write_boxes_json(tmp_path / "truth" / f"{name}.json", boxes(2.0, 1.0), ["car"])
    return tmp_path


def test_folders_are_matched_by_name(files, capsys):
    out = files / "view.html"
    main(
        [
            *("view", str(files / "in"), "--boxes", str(files / "found")),
            *("--truth", str(files / "truth"), "--out", str(out)),
        ]
    )
    scene = scene_of(out)
    assert [frame["name"] for frame in scene["frames"]] == ["a.npy", "b.npy"]
    assert [c["name"] for c in scene["classes"]] == ["tram"]
    assert all(frame["truth"]["texts"][0].startswith("car, ground") for frame in scene["frames"])
    assert f"{out}: 2 frames, 4.8 MB" in capsys.readouterr().out


def test_a_cloud_alone(files):
    main(["view", str(files / "in/a.npy"), "--out", str(files / "a.html")])
    scene = scene_of(files / "a.html")
    assert scene["classes"] == []
    assert not scene["has_truth"]


def test_what_cannot_be_shown(files):
    path, out = str(files / "in/a.npy"), str(files / "a.html")
    (files / "none.json").write_text("[]")
    for options, match in (
        (("--out", str(files / "a.png")), r"a\.png: expected a name that ends in \.html or \.rrd"),
        (("--boxes", str(files / "in")), r"a\.json: expected the boxes of .*a\.npy, found no file"),
        (("--boxes", str(files / "none.json")), 'expected JSON with a list "boxes"'),
        (("--score-thr", "2"), "--score-thr: expected a number from 0 to 1"),
        (("--range", "0"), "range_m: expected more than 0"),
    ):
        with pytest.raises(SystemExit, match=match):
            main(["view", path, "--out", out, *options])
    (files / "a.html").symlink_to(files / "found/a.json")
    with pytest.raises(SystemExit, match="expected a file of its own, got the input"):
        main(["view", path, "--boxes", str(files / "found/a.json"), "--out", out])


def test_boxes_of_one_cloud_are_not_shown_with_another(files):
    for option in ("--boxes", "--truth"):
        given = [option, str(files / "truth/a.json")]
        with pytest.raises(
            SystemExit, match=rf"{option} .*a\.json: expected a folder for 2 clouds"
        ):
            main(["view", str(files / "in"), *given, "--out", str(files / "a.html")])
    assert not (files / "a.html").exists()
