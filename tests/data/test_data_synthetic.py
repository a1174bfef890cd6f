"""The chain on synthetic scenes: schema -> infos -> data set -> official evaluation."""

import pytest
from test_data_metric import KEY, evaluate

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.prepare import prepare_nuscenes
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.synthetic import generate

pytest.importorskip("trimesh")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "set"
    generate(root, num_scenes=2, seed=3, scene_seconds=1.5)
    prepare_nuscenes(root, "v1.0-mini")
    return NuScenesSweepsDataset(
        str(root),
        "nuscenes_infos_val.pkl",
        data_prefix=dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP"),
        metainfo=dict(classes=NUSCENES_CLASSES),
        test_mode=True,
    )


def test_ground_truth_scores_perfectly(dataset):
    present = {
        NUSCENES_CLASSES[label]
        for index in range(len(dataset))
        for label in dataset.get_data_info(index)["eval_ann_info"]["gt_labels_3d"]
        if label >= 0
    }
    scores = evaluate(dataset)
    perfect = {name for name in present if scores[f"{KEY}{name}_AP_dist_0.5"] == 1.0}
    # A class may be present only farther away than it is evaluated.
    assert {"car", "pedestrian"} <= perfect
    for name in perfect:
        assert scores[f"{KEY}{name}_trans_err"] < 0.01
        assert scores[f"{KEY}{name}_scale_err"] < 0.01
    # The benchmark defines no direction for cones, and no velocity for what never moves.
    for name in perfect - {"traffic_cone"}:
        assert scores[f"{KEY}{name}_orient_err"] < 0.02
    for name in perfect - {"traffic_cone", "barrier"}:
        assert scores[f"{KEY}{name}_vel_err"] < 0.02
