"""Page and film of tools/infer.py: one for all frames, on one scale."""

import json
import re

import numpy as np
import pytest
from other_clouds import road, write_bin

COUNT = 500


def cloud(path, shift=0.0):
    path.parent.mkdir(exist_ok=True)
    return write_bin(path, road(COUNT) + [shift, 0, 0], np.arange(COUNT) % 250)


def scene_of(path):
    (text,) = re.findall(r'id="scene">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(text)


def test_a_folder_becomes_one_page(tmp_path, infer, capsys):
    pytest.importorskip("plotly")
    for name in "ab":
        cloud(tmp_path / "in" / f"{name}.bin")
    (tmp_path / "in/torn.pcd").write_bytes(b"torn")
    page = tmp_path / "view.html"
    with pytest.raises(SystemExit):  # the torn file failed, the others are there
        infer(tmp_path / "in", "--html", page, "--draw-thr", "0.4")
    scene = scene_of(page)
    assert [frame["name"] for frame in scene["frames"]] == ["a.bin", "b.bin"]
    assert scene["least"] == 0.4
    assert scene["frames"][0]["found"]["scores"] == [0.9, 0.5, 0.2]  # the slider goes below
    assert f"written: {page}" in capsys.readouterr().err


def test_a_folder_becomes_a_film(tmp_path, infer):
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    for number, name in enumerate("abc"):
        cloud(tmp_path / "in" / f"{name}.bin", number)
    infer(tmp_path / "in", "--video", tmp_path / "out.gif", "--fps", "2")
    film = image.open(tmp_path / "out.gif")
    assert (film.n_frames, film.info["duration"]) == (3, 500)


def test_options_of_pictures_that_are_not_made(tmp_path, infer):
    path = cloud(tmp_path / "a.bin")
    for options, match in (
        (("--fps", "3"), "--fps: expected --video"),
        (("--draw-thr", "0.3"), "--draw-thr: expected --png, --html or --video"),
        (("--video", tmp_path / "a.avi"), r"a\.avi: expected a name that ends in"),
        (("--html", tmp_path), "--html .*: expected a file to write, got another"),
        (("--html", path), "--html .*: expected a file of its own, got the input"),
        (
            ("--out", tmp_path / "b", "--html", tmp_path / "b"),
            "--html .*: expected a file of its own, got the file of --out",
        ),
    ):
        with pytest.raises(SystemExit, match=match):
            infer(path, *options)
