"""The nuScenes detector in full size, random weights, on the real frames: as padre3d.deploy."""

import json

import numpy as np
import pytest
import torch

from padre3d.deploy import Runtime
from padre3d.io import drop_unusable, load_points

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
from benchmarks.common import randomise_norms  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

FRAMES = ("*_10sweeps_float16.bin", "*LIDAR_TOP*.pcd.bin")
CENTRE_M, SCORE = 1e-3, 1e-4
DIGITS = 5.1e-5  # numbers of the JSON are rounded to four


@pytest.fixture(scope="module")
def folder(tmp_path_factory, repo_root, real_dir):
    from padre3d.export.export import export_detector
    from padre3d.inference import build_model
    from padre3d.training.config import read_config

    config = repo_root / "configs" / "dsvt_padre2_nuscenes.py"
    torch.manual_seed(0)
    model = build_model(read_config(config), config).eval()
    randomise_norms(model)
    (frame,) = real_dir.glob(FRAMES[1])
    out = tmp_path_factory.mktemp("full") / "out"
    export_detector(model, {"frame": torch.from_numpy(load_points(frame))}, out)
    return out


@pytest.mark.parametrize("frame", FRAMES)
def test_real_frames(with_openvino, folder, real_dir, frame):
    """Centres to 1 mm, scores to 1e-4; equal scores may have changed places."""
    (path,) = real_dir.glob(frame)
    with Runtime(folder, "openvino", threads=2) as runtime:
        expected = runtime(drop_unusable(load_points(path))[0])
        names = runtime.class_names
    done = with_openvino.detect(folder, path, "--score-thr", 0, "--threads", 2)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["boxes"]
    assert len(found) == len(expected.scores) > 50
    numbers = [[names.index(b["name"]), b["score"], *b["center_m"]] for b in found]
    wanted = np.c_[expected.labels, expected.scores, expected.boxes[:, :3]]
    apart = np.abs(np.array(numbers)[:, None] - wanted)
    limits = [0, SCORE + DIGITS, *[CENTRE_M + DIGITS] * 3]
    partners = (apart <= limits).all(2)
    assert partners.any(0).all()
    assert partners.any(1).all()
