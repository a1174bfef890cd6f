"""The demo's summary: the devkit's figures under short names."""

import pytest
import torch
from demo_summary import backbone_parameters, detection_scores

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


def test_statistics_are_no_weights(tmp_path):
    state = {
        "backbone.norm.weight": torch.zeros(8),
        "backbone.norm.running_mean": torch.zeros(8),
        "backbone.norm.num_batches_tracked": torch.tensor(3),
        "head.weight": torch.zeros(5),
    }
    torch.save({"state_dict": state}, tmp_path / "c.pth")
    assert backbone_parameters(tmp_path / "c.pth") == 8
