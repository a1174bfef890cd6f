"""The demo's summary: the devkit's figures under short names."""

import io
import json

import demo
import pytest
import torch
from demo_summary import backbone_parameters, comparison, detection_scores
from rich.console import Console

from padre3d.structures.classes import NUSCENES_CLASSES

PREFIX = "NuScenes metric/pred_instances_3d_NuScenes/"


def reported() -> dict:
    metrics = {PREFIX + "NDS": 0.4, PREFIX + "mAP": 0.3}
    for i, name in enumerate(NUSCENES_CLASSES):
        for j, distance in enumerate((0.5, 1.0, 2.0, 4.0)):
            metrics[f"{PREFIX}{name}_AP_dist_{distance}"] = 0.05 * i + 0.1 * j
    return metrics


def test_ap_is_the_mean_over_distances():
    scores = detection_scores(reported())
    assert (scores["nds"], scores["map"]) == (0.4, 0.3)
    assert scores["ap_per_class"]["car"] == pytest.approx(0.15)
    assert scores["ap_per_class"]["traffic_cone"] == pytest.approx(0.45 + 0.15)


def test_missing_figure_is_named():
    metrics = reported()
    del metrics[PREFIX + "bus_AP_dist_2.0"]
    with pytest.raises(ValueError, match="bus_AP_dist_2.0"):
        detection_scores(metrics)


def test_models_stand_side_by_side():
    console = Console(width=80, file=io.StringIO())
    rows = {"ours": reported(), "packaged": {"a/NDS": 0.5, "a/mAOE": 0.25}}
    console.print(comparison(rows, "packaged: padre2_grid_synthetic"))
    text = console.file.getvalue()
    (ours,) = (line for line in text.splitlines() if "ours" in line)
    packaged, note = (line for line in text.splitlines() if "packaged" in line)
    assert note.strip() == "packaged: padre2_grid_synthetic"
    assert "0.400" in ours
    assert "0.500" in packaged
    assert "0.250" in packaged


def test_the_first_picture_comes_before_the_training(tmp_path):
    """Without a packaged model the demo does without."""
    planned = demo.steps(0, tmp_path / "small")
    order = [path.name for path in planned]
    assert order.index("first.png") == 2
    assert order.index("first.png") < order.index("epoch_10.pth") < order.index("metrics.json")
    assert str(tmp_path / "small") in planned[demo.FIRST].command
    assert sum(step.minutes for step in list(planned.values())[:3]) <= 3
    rest = [path for path in planned if path not in (demo.FIRST, demo.PACKAGED_METRICS)]
    assert list(demo.steps(0, None)) == rest


@pytest.mark.parametrize(
    ("said", "got"), [({"scenes": 72}, "72 of seed 1"), ({"seed": 0, "scenes": 10}, "10 of seed 0")]
)
def test_scenes_that_are_not_the_demos_are_refused(tmp_path, monkeypatch, said, got):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "do_step", pytest.fail)
    path = tmp_path / demo.STATISTICS
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(said))
    with pytest.raises(
        ValueError, match=rf"data/synthetic: expected 10 scenes of seed 1, got {got}"
    ):
        demo.run(demo.parse_args([]))


@pytest.mark.parametrize("said", [{"scenes": 10}, {"seed": 1, "scenes": 10}])
def test_the_demos_own_scenes_pass(tmp_path, monkeypatch, said):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    demo.check_data(1)
    path = tmp_path / demo.STATISTICS
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(said))
    demo.check_data(1)


def test_statistics_are_no_weights(tmp_path):
    state = {
        "backbone.norm.weight": torch.zeros(8),
        "backbone.norm.running_mean": torch.zeros(8),
        "backbone.norm.num_batches_tracked": torch.tensor(3),
        "head.weight": torch.zeros(5),
    }
    torch.save({"state_dict": state}, tmp_path / "c.pth")
    assert backbone_parameters(tmp_path / "c.pth") == 8
