"""The tiny reference detector by the command line alone: YAML and checkpoint in, boxes out."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from golden.tiny_reference import reference_weights

pytest.importorskip("mmdet3d")


@pytest.fixture
def run(repo_root):
    """Run a tool as a user does."""

    def command(tool, *arguments, **environment):
        result = subprocess.run(
            [sys.executable, str(repo_root / "tools" / tool), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=repo_root,
            env={**os.environ, **environment},
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return command


@pytest.fixture
def converted(run, golden_dir, tiny_yaml, tmp_path):
    """Config and checkpoint that the converter writes."""
    config, checkpoint = tmp_path / "tiny_dsvt.py", tmp_path / "tiny_dsvt.pth"
    printed = run(
        "convert_checkpoint.py",
        golden_dir / "detector_tiny.pth",
        checkpoint,
        "--reference-config",
        tiny_yaml,
        "--emit-config",
        config,
    )
    weights = reference_weights(golden_dir)["model_state"]
    for key in weights:
        assert f"\n{key} " in "\n" + printed
    return config, checkpoint


@pytest.mark.slow
def test_golden_boxes_from_points(run, converted, tiny, golden_dir, tool, tmp_path):
    points, out = tmp_path / "cloud.npy", tmp_path / "boxes.json"
    np.save(points, tiny.arrays["points"][:, 1:])
    config, checkpoint = converted
    run("infer.py", config, checkpoint, points, "--score-thr", "0", "--out", out)
    boxes = json.loads(out.read_text())["boxes"]
    expected = tiny.arrays["final/pred_boxes"]
    names = tiny.arrays["class_names"][tiny.arrays["final/pred_labels"] - 1]
    scores = tiny.arrays["final/pred_scores"]
    assert len(boxes) == len(expected) == 156
    # infer.py sorts by score; the digits it writes may tie, so each box finds its golden one.
    centres = np.array([box["center_m"] for box in boxes])
    distance = np.linalg.norm(centres[:, None] - expected[None, :, :3], axis=2)
    distance[np.array([box["name"] for box in boxes])[:, None] != names[None]] = np.inf
    partner = distance.argmin(1)
    assert sorted(partner) == list(range(156))
    keys = ("center_m", "size_lwh_m", "yaw_rad", "velocity_mps")
    rows = np.array([np.concatenate([np.ravel(box[key]) for key in keys]) for box in boxes])
    # The file has four digits.
    np.testing.assert_allclose(rows, expected[partner], rtol=0, atol=1.5e-4)
    written = [box["score"] for box in boxes]
    np.testing.assert_allclose(written, scores[partner], rtol=0, atol=1e-4)
    assert written == sorted(written, reverse=True)

    back = tmp_path / "back.pth"
    tool.main([str(checkpoint), str(back), "--config", str(config), "--reverse"])
    original, again = reference_weights(golden_dir), torch.load(back, weights_only=True)
    weights = again.pop("model_state")
    assert weights.keys() == original["model_state"].keys()
    for key, value in original.pop("model_state").items():
        assert torch.equal(weights[key], value), key
    assert again == original


@pytest.mark.slow
def test_evaluation_accepts_what_the_converter_wrote(run, converted, tiny_nuscenes, tmp_path):
    metrics = tmp_path / "metrics.json"
    run(
        "test.py",
        *converted,
        "--work-dir",
        tmp_path / "work",
        "--metrics-out",
        metrics,
        NUSCENES_ROOT=str(tiny_nuscenes),
    )
    scores = {key.split("/")[-1]: value for key, value in json.loads(metrics.read_text()).items()}
    assert 0 <= scores["NDS"] <= 1
