"""The detector from CUDA graphs: on a CPU the same padded function, without a graph."""

import numpy as np
import pytest
import small_detector
import torch

from padre3d.export.graphed import GraphedDetector
from padre3d.inference import detect


def same_boxes(found, expected):
    """Equal up to rounding; proposals of close scores may change places."""
    order = np.lexsort(np.round(found.boxes[:, :3], 2).T)
    other = np.lexsort(np.round(expected.boxes[:, :3], 2).T)
    np.testing.assert_allclose(found.scores[order], expected.scores[other], atol=1e-4)
    np.testing.assert_allclose(found.boxes[order], expected.boxes[other], atol=1e-3)


@pytest.mark.parametrize("name", ["padre", "attention", "grid", "grid and sequence"])
def test_boxes_are_the_detector_s(name, device):
    model = small_detector.build(**small_detector.MIXERS[name]).to(device)
    graphed = GraphedDetector(model, bucket=64)
    for count in (1500, 1400, 300):
        cloud = small_detector.cloud(count).numpy()
        same_boxes(detect(graphed, cloud), detect(model, cloud))
    assert 1 < len(graphed._captured) <= 3
    # One bucket for all: a capture reads the frame at hand, not the one that it was made with.
    shared = GraphedDetector(model, bucket=4096)
    for count in (1500, 300):
        cloud = small_detector.cloud(count).numpy()
        same_boxes(detect(shared, cloud), detect(model, cloud))
    assert len(shared._captured) == 1
    assert len(detect(graphed, np.zeros((0, 5), np.float32)).scores) == 0


def test_what_it_refuses(tmp_path, monkeypatch, repo_root):
    model = small_detector.build()
    with pytest.raises(ValueError, match="bucket: expected 1 pillar or more, got 0"):
        GraphedDetector(model, 0)
    with pytest.raises(ValueError, match="one cloud at a time, got 2"):
        GraphedDetector(model).predict_points([torch.zeros(1, 5), torch.zeros(1, 5)])
    with pytest.raises(ValueError, match="in evaluation mode"):
        GraphedDetector(model.train())
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import infer

    with pytest.raises(SystemExit, match="--graphs.*--device cuda"):
        infer.main(["config.py", "weights.pth", "cloud.bin", "--graphs"])
