import json

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from nuscenes import NuScenes

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.metric import NuScenesDetectionMetric
from padre3d.structures.classes import NUSCENES_CLASSES

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
PRESENT = ("car", "truck", "pedestrian", "traffic_cone", "bicycle")
KEY = "NuScenes metric/pred_instances_3d_NuScenes/"


@pytest.fixture(scope="module")
def dataset(tiny_nuscenes):
    return NuScenesSweepsDataset(
        str(tiny_nuscenes),
        "nuscenes_infos_val.pkl",
        data_prefix=PREFIX,
        metainfo=dict(classes=NUSCENES_CLASSES),
        test_mode=True,
    )


def evaluate(dataset, change=lambda boxes: boxes, **kwargs):
    """Score the ground truth, changed, as if a detector had found it."""
    metric = NuScenesDetectionMetric(**kwargs)
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        truth = info["eval_ann_info"]
        labels = torch.from_numpy(truth["gt_labels_3d"])
        boxes = change(truth["gt_bboxes_3d"].tensor[labels >= 0].clone())
        prediction = dict(
            bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9),
            scores_3d=torch.ones(len(boxes)),
            labels_3d=labels[labels >= 0],
        )
        sample = dict(pred_instances_3d=prediction, sample_idx=info["sample_idx"])
        metric.process({}, [sample])
    return metric.evaluate(len(dataset))


def per_class(scores, error, classes=PRESENT):
    return np.array([scores[f"{KEY}{name}_{error}"] for name in classes])


def test_ground_truth_is_a_perfect_detection(dataset):
    scores = evaluate(dataset)
    for distance in ("0.5", "1.0", "2.0", "4.0"):
        np.testing.assert_allclose(per_class(scores, f"AP_dist_{distance}"), 1.0)
    for error in ("trans_err", "scale_err"):
        np.testing.assert_allclose(per_class(scores, error), 0.0, atol=1e-3)
    for error in ("orient_err", "vel_err"):
        np.testing.assert_allclose(
            per_class(scores, error, ("car", "truck", "bicycle")), 0.0, atol=1e-3
        )
    # Five of ten classes are absent: their AP is 0.
    assert scores[f"{KEY}mAP"] == pytest.approx(0.5)


def shift(columns, amount):
    def change(boxes):
        boxes[:, columns] += torch.tensor(amount)
        return boxes

    return change


@pytest.mark.parametrize(
    ("columns", "amount", "error", "expected"),
    [
        ([0], [0.3], "trans_err", 0.3),
        ([1], [-0.4], "trans_err", 0.4),
        ([6], [0.5], "orient_err", 0.5),
        ([6], [np.pi], "orient_err", np.pi),
        ([7, 8], [0.3, 0.4], "vel_err", 0.5),
    ],
)
def test_a_known_error_is_the_reported_error(dataset, columns, amount, error, expected):
    scores = evaluate(dataset, shift(columns, amount))
    np.testing.assert_allclose(
        per_class(scores, error, ("car", "truck", "bicycle")), expected, atol=2e-3
    )


def test_translation_size_and_rotation_of_the_submission_are_the_annotations(
    dataset, tiny_nuscenes, tmp_path
):
    """z is no part of the metric, so it is compared here."""
    evaluate(dataset, format_only=True, jsonfile_prefix=str(tmp_path))
    results = json.loads((tmp_path / "pred_instances_3d/results_nusc.json").read_text())["results"]
    nusc = NuScenes("v1.0-mini", str(tiny_nuscenes), verbose=False)
    compared = 0
    for sample_token, boxes in results.items():
        annotations = [
            nusc.get("sample_annotation", t) for t in nusc.get("sample", sample_token)["anns"]
        ]
        for box in boxes:
            nearest = min(
                annotations,
                key=lambda a: np.linalg.norm(np.subtract(a["translation"], box["translation"])),
            )
            np.testing.assert_allclose(box["translation"], nearest["translation"], atol=1e-3)
            np.testing.assert_allclose(box["size"], nearest["size"], atol=1e-5)
            overlap = abs(np.dot(box["rotation"], nearest["rotation"]))
            assert overlap == pytest.approx(1.0, abs=1e-5)
            velocity = nusc.box_velocity(nearest["token"])[:2]
            np.testing.assert_allclose(box["velocity"], velocity, atol=1e-3)
            compared += 1
    assert compared == 25


def test_given_annotations_win_over_those_of_the_data_set(dataset, tiny_nuscenes):
    metric = NuScenesDetectionMetric(data_root=str(tiny_nuscenes), ann_file="no/such.pkl")
    metric.dataset_meta = dataset.metainfo
    with pytest.raises(FileNotFoundError, match=r"no/such\.pkl"):
        metric.compute_metrics([])


def test_the_test_split_is_not_scored(dataset, monkeypatch):
    monkeypatch.setitem(dataset._metainfo, "version", "v1.0-test")
    with pytest.raises(ValueError, match="v1.0-test has no annotations.*format_only"):
        evaluate(dataset)
