"""The nuScenes detector in full size, random weights, on the real frames: as padre3d.deploy."""

import json

import numpy as np
import pytest
import torch

from padre3d.deploy import Runtime
from padre3d.io import drop_unusable, load_points

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
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
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    (frame,) = real_dir.glob(FRAMES[1])
    out = tmp_path_factory.mktemp("full") / "out"
    export_detector(model, {"frame": torch.from_numpy(load_points(frame))}, out)
    return out


@pytest.mark.parametrize("frame", FRAMES)
def test_real_frames(with_openvino, folder, real_dir, frame):
    """Centres to 1 mm, scores to 1e-4, in the same order."""
    (path,) = real_dir.glob(frame)
    with Runtime(folder, "openvino", threads=2) as runtime:
        expected = runtime(drop_unusable(load_points(path))[0])
        names = runtime.class_names
    done = with_openvino.detect(folder, path, "--score-thr", 0, "--threads", 2)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["boxes"]
    assert len(found) == len(expected.scores) > 50
    assert [names.index(box["name"]) for box in found] == expected.labels.tolist()
    centres = np.array([box["center_m"] for box in found])
    scores = np.array([box["score"] for box in found])
    np.testing.assert_allclose(centres, expected.boxes[:, :3], rtol=0, atol=CENTRE_M + DIGITS)
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=SCORE + DIGITS)
