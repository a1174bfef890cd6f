"""Sweeps of one recording in C++: those that `padre3d detect` joins, and the same words."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from test_cpp_detect import SCORE_THR, assert_same_boxes, detect, refused

from padre3d.command.joining import Joiner
from padre3d.command.main import main
from padre3d.io import Cloud, load_points
from padre3d.models import model_folder, sample_cloud
from padre3d.runtime import SweepBuffer

RANDOM = np.random.default_rng(0)
STEPS = {
    "a missing cloud": [0.1, 0.1, 0.1, 0.2001],
    "a pause at the start": [8, 0.1, 0.1],
    "pauses": [0.1, 0.1, 50, 0.1, 50, 0.1],
    "slow": [1.5, 1.5, 0.7, 0.9, 2.5],
    "more than the steps kept": [*[0.1] * 60, *[0.4] * 60, 3, 0.4, 7, 0.2],
    "random": [*RANDOM.uniform(0.05, 0.2, 40), *RANDOM.exponential(0.6, 60)],
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("sweeps", "stride"), [(2, 1), (3, 4), (10, 1)])
@pytest.mark.parametrize("max_lag_s", [None, 0.3])
def test_same_sweeps(cpp, tmp_path, name, sweeps, stride, max_lag_s):
    """As many sweeps in every cloud, and what is said of a pause."""
    stamps = 1e9 + np.cumsum([0, *STEPS[name]])
    np.save(tmp_path / "stamps.npy", stamps)
    join = Joiner(SweepBuffer(sweeps, stride=stride, pad=False), max_lag_s)
    cloud = Cloud(np.full((1, 5), 9, np.float32), *[None] * (len(Cloud.__dataclass_fields__) - 1))
    expected = []
    for stamp_s in stamps:
        joined, said = join(cloud, SimpleNamespace(stamp_s=stamp_s, pose=np.eye(4)))
        expected.append(f"{len(joined.points)} {said}")
    lines = cpp.tool("join", tmp_path / "stamps.npy", sweeps, stride, max_lag_s or 0).split("\n")
    assert lines[:-1] == expected


@pytest.fixture
def drive(tmp_path):
    """Six clouds with a pause after the third, and the table of their poses."""
    whole = load_points(sample_cloud()[0])
    lags, rows, paths = np.unique(whole[:, 4]), [], []
    for i, stamp_s in enumerate((0, 0.1, 0.2, 5, 5.1, 5.2)):
        paths.append(tmp_path / f"{i}.npy")
        np.save(paths[-1], whole[whole[:, 4] == lags[i % len(lags)]][:, :4])
        rows.append(f"{stamp_s},{3 * i},{i},0,1,0,0,{0.1 * i}\n")
    (tmp_path / "poses.csv").write_text("stamp,x,y,z,qw,qx,qy,qz\n" + "".join(rows))
    return [*paths, "--poses", tmp_path / "poses.csv"]


CALIBRATION = ("--lidar-to-ego", "0.9,0,1.8,0.7,0,0,-0.7")


@pytest.mark.parametrize(
    ("options", "limit"),
    [((), "1.6"), ((*CALIBRATION, "--max-lag", "0.15"), "0.15")],
)
def test_a_pause(with_openvino, tmp_path, drive, options, limit):
    """The boxes of the last cloud are those of the program in Python."""
    pytest.importorskip("openvino")
    folder, out = model_folder("padre2_full_synthetic"), tmp_path / "boxes"
    words = [*drive, "--backend", "openvino", "--score-thr", SCORE_THR, "--out", out, *options]
    main(["detect", "--model", *map(str, [folder, *words])])
    text, said = detect(with_openvino, folder, *drive, *options)
    expected = json.loads((out / "5.json").read_text())["boxes"]
    assert_same_boxes(json.loads(text)["boxes"], expected)
    assert len(expected) > 5
    pause = f"4.800 s after the last cloud: no sweep older than {limit} s is joined"
    assert said.count("s after the last cloud") == said.count(pause) == 1


def test_one_sweep_keeps_its_own_time_lags(with_openvino, tmp_path):
    path = sample_cloud()[0]
    (tmp_path / "poses.csv").write_text("stamp,x,y,z,qw,qx,qy,qz\n0,0,0,0,1,0,0,0\n")
    words = (path, "--time-lag")
    alone, _ = detect(with_openvino, model_folder(), *words)
    options = ("--poses", tmp_path / "poses.csv", "--sweeps", 1)
    assert detect(with_openvino, model_folder(), *words, *options)[0] == alone
    assert len(json.loads(alone)["boxes"]) > 5


def test_a_folder_in_the_place_of_the_card(with_openvino, tmp_path, drive):
    """As without a card: ten sweeps."""
    folder = shutil.copytree(model_folder("padre2_full_synthetic"), tmp_path / "model")
    (folder / "info.json").unlink()
    without, _ = detect(with_openvino, folder, *drive)
    (folder / "info.json").mkdir()
    assert detect(with_openvino, folder, *drive)[0] == without


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-lag", "1"), "--max-lag: expected --poses"),
        (CALIBRATION, "--lidar-to-ego: expected --poses"),
        (("--max-lag", "0"), "--max-lag: expected more than 0 s, got '0'"),
        (("--max-lag", "-1"), "--max-lag: expected more than 0 s, got '-1'"),
        (("--max-lag", "nan"), "--max-lag: expected more than 0 s, got 'nan'"),
        *(
            (("--lidar-to-ego", text), f"expected X,Y,Z,QW,QX,QY,QZ, got '{text}'")
            for text in ("1,2,3", "0,0,0,1,0,0,0,", "0,0,0,0,0,0,0", "0,0,0,1,0,0,a", "")
        ),
    ],
)
def test_refusals(cpp, words, message):
    assert message in refused(cpp, "DIR", "cloud.npy", *words)
