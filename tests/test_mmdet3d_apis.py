"""mmdet3d's public inference functions on our configs and checkpoints, and stock parts."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from small_detector import MODEL, build, cloud

import padre3d.plugin  # noqa: F401
from padre3d.io.boxes_json import read_boxes_json

RANGE_M = MODEL["grid"]["range_m"]
CONFIG = """
_base_ = [{base!r}]
model = dict(_delete_=True, **{model!r})
data_root = "no/such/folder"
in_range = dict(type="PointsRangeFilter", point_cloud_range={range_m!r})
test_pipeline = [_base_.test_pipeline[0], in_range, *_base_.test_pipeline[2:]]
test_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=[_base_.load_points, *test_pipeline])
)
val_dataloader = test_dataloader
"""
SCORE_THR = 0.05


@pytest.fixture(scope="module")
def files(tmp_path_factory, repo_root):
    """A config, a plain checkpoint of it, a ten-sweep and a one-sweep cloud in files."""
    folder = tmp_path_factory.mktemp("apis")
    base = str(repo_root / "configs/dsvt_padre2_nuscenes.py")
    text = CONFIG.format(base=base, model=MODEL, range_m=RANGE_M)
    (folder / "small.py").write_text(text)
    torch.save(build().state_dict(), folder / "small.pth")
    sweeps = cloud(1500, 5).numpy()
    assert len(np.unique(sweeps[:, 4])) > 10
    sweeps.tofile(folder / "sweeps.pcd.bin")
    single = cloud(1200, 6).numpy()
    single[:, 4] = np.arange(len(single)) % 32  # nuScenes' ring index
    single.tofile(folder / "single.pcd.bin")
    return folder


def infer(files, name, repo_root, folder):
    """Boxes of tools/infer.py, in its own process."""
    out = folder / f"{name}.json"
    arguments = [files / "small.py", files / "small.pth", files / f"{name}.pcd.bin"]
    subprocess.run(
        [sys.executable, repo_root / "tools/infer.py", *arguments]
        + ["--out", out, "--score-thr", str(SCORE_THR)],
        check=True,
        capture_output=True,
    )
    return read_boxes_json(out)


def compare(scores, labels, boxes, wanted):
    """Boxes with bottom centres, in any order, against those of tools/infer.py."""
    boxes = LiDARInstance3DBoxes(torch.as_tensor(boxes), box_dim=9)
    boxes = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], 1).numpy()
    scores, labels = np.asarray(scores), np.asarray(labels)
    kept = scores >= SCORE_THR
    assert kept.sum() == len(wanted.boxes) > 3
    left = set(np.flatnonzero(kept))
    for box, score, label in zip(*wanted, strict=True):
        match = min(left, key=lambda i: np.abs(boxes[i] - box).max() + abs(scores[i] - score))
        left.remove(match)
        np.testing.assert_allclose(boxes[match], box, atol=2e-3)
        assert scores[match] == pytest.approx(score, abs=1e-3)
        assert labels[match] == label
