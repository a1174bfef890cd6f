"""Any class list is scored by the devkit's functions; nuScenes' ten stay official."""

import json

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from nuscenes import NuScenes
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval

from padre3d.data.class_list import class_list_evaluation, score_class_list
from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.metric import NuScenesDetectionMetric, info_classes
from padre3d.data.prepare import prepare_nuscenes
from padre3d.structures.classes import NUSCENES_CLASSES

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
KEY = "NuScenes metric/pred_instances_3d_NuScenes/"
OWN = {"vehicle.car": "shuttle", "animal": "dog", "human.pedestrian.adult": "person"}


def build(root, classes, **settings):
    return NuScenesSweepsDataset(
        str(root),
        "nuscenes_infos_val.pkl",
        data_prefix=PREFIX,
        metainfo=dict(classes=classes),
        test_mode=True,
        **settings,
    )


def disturbed(dataset, shift_m=0.0, noise=0.0, seed=0):
    """The ground truth, moved and with false detections of random scores."""
    rng = np.random.default_rng(seed)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        truth = info["eval_ann_info"]
        labels = truth["gt_labels_3d"]
        boxes = truth["gt_bboxes_3d"].tensor[torch.from_numpy(labels >= 0)].numpy()
        labels = labels[labels >= 0]
        boxes[:, 0] += shift_m
        if noise:
            boxes[:, :2] += rng.normal(0, noise, (len(boxes), 2))
            boxes[:, 3:9] *= rng.uniform(0.8, 1.2, (len(boxes), 6))
            boxes, labels = np.tile(boxes, (2, 1)), np.tile(labels, 2)
        yield info, boxes, rng.uniform(0.1, 1, len(boxes)).astype(np.float32), labels


def evaluate(dataset, found, **kwargs):
    metric = NuScenesDetectionMetric(**kwargs)
    metric.dataset_meta = dataset.metainfo
    for info, boxes, scores, labels in found:
        prediction = dict(
            bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(boxes), box_dim=9),
            scores_3d=torch.from_numpy(scores),
            labels_3d=torch.from_numpy(labels),
        )
        metric.process({}, [dict(pred_instances_3d=prediction, sample_idx=info["sample_idx"])])
    return metric.evaluate(len(dataset))


@pytest.mark.parametrize("classes", [NUSCENES_CLASSES, NUSCENES_CLASSES[::-1]])
def test_ten_classes_are_the_official_evaluation_to_the_last_digit(
    tiny_nuscenes, tmp_path, classes
):
    dataset = build(tiny_nuscenes, classes)
    scores = evaluate(dataset, disturbed(dataset, noise=0.4), jsonfile_prefix=str(tmp_path))
    official = DetectionEval(
        NuScenes("v1.0-mini", str(tiny_nuscenes), verbose=False),
        config=config_factory("detection_cvpr_2019"),
        result_path=str(tmp_path / "pred_instances_3d/results_nusc.json"),
        eval_set="mini_val",
        output_dir=str(tmp_path / "devkit"),
        verbose=False,
    ).evaluate()[0]
    assert 0.05 < official.mean_ap < 0.5
    assert scores[f"{KEY}mAP"] == official.mean_ap
    assert scores[f"{KEY}NDS"] == official.nd_score


def test_the_score_of_a_class_list_is_the_official_one(tiny_nuscenes, tmp_path):
    """All ten through the general way: AP and every error but that of attributes."""
    dataset = build(tiny_nuscenes, NUSCENES_CLASSES)
    found = list(disturbed(dataset, noise=0.4))
    official = evaluate(dataset, found)
    infos = [info for info, *_ in found]
    own_frame = [(boxes.astype(float), s, labels) for _, boxes, s, labels in found]
    for boxes, _, _ in own_frame:
        boxes[:, 2] += boxes[:, 5] / 2
    cfg = config_factory("detection_cvpr_2019")
    evaluation = class_list_evaluation(
        load_infos(tiny_nuscenes)["data_list"],
        info_classes(load_infos(tiny_nuscenes)["metainfo"]),
        {info["sample_idx"]: row for info, row in zip(infos, own_frame, strict=True)},
        {name: cfg.class_range[name] for name in NUSCENES_CLASSES},
        cfg,
    )
    metrics = score_class_list(evaluation)
    assert metrics.mean_ap == pytest.approx(official[f"{KEY}mAP"], abs=1e-9)
    for name in ("car", "truck", "bicycle", "pedestrian"):
        for error in ("trans_err", "scale_err", "orient_err", "vel_err"):
            expected = official[f"{KEY}{name}_{error}"]
            assert metrics.get_label_tp(name, error) == pytest.approx(expected, abs=1e-4)


def load_infos(root):
    from mmengine.fileio import load

    return load(root / "nuscenes_infos_val.pkl")


@pytest.fixture(scope="module")
def own_root(tmp_path_factory):
    from tiny_nuscenes import write_tiny_nuscenes

    root = write_tiny_nuscenes(tmp_path_factory.mktemp("own") / "nuscenes")
    names = [f"class {i}" for i in range(20)]
    unused = {f"vehicle.unused.{i}": name for i, name in enumerate(names)}
    prepare_nuscenes(root, "v1.0-mini", categories={**unused, **OWN})
    return root


@pytest.mark.parametrize("classes", [("dog",), ("person", "shuttle", "dog")])
def test_ground_truth_of_own_classes_is_a_perfect_detection(own_root, classes):
    dataset = build(own_root, classes)
    scores = evaluate(dataset, disturbed(dataset))
    assert scores[f"{KEY}mAP"] == pytest.approx(1.0)
    assert scores[f"{KEY}NDS"] == pytest.approx(1.0, abs=1e-3)
    assert f"{KEY}mAAE" not in scores


def test_a_subset_is_scored_by_its_own_frames(own_root):
    """mmengine numbers the frames of a subset from 0."""
    last = len(build(own_root, tuple(OWN.values()))) - 1
    dataset = build(own_root, tuple(OWN.values()), indices=[last])
    assert last > 0
    assert dataset.get_data_info(0)["sample_idx"] == last
    scores = evaluate(dataset, disturbed(dataset))
    assert scores[f"{KEY}mAP"] == pytest.approx(1.0)


def test_23_classes_are_scored_each_under_its_name(own_root):
    classes = tuple(info_classes(load_infos(own_root)["metainfo"]).values())
    assert len(classes) == 23
    dataset = build(own_root, classes)
    scores = evaluate(dataset, disturbed(dataset, shift_m=0.7), bootstrap=3)
    present = {name for name in classes if scores[f"{KEY}{name}_AP_dist_1.0"] == 1}
    assert present == set(OWN.values())
    assert scores[f"{KEY}shuttle_AP_dist_0.5"] == 0
    assert scores[f"{KEY}shuttle_trans_err"] == pytest.approx(0.7, abs=1e-3)
    assert scores[f"{KEY}mAP"] == pytest.approx(3 / 23 * 3 / 4)
    assert scores[f"{KEY}frames"] == len(dataset)
    low, high = scores[f"{KEY}mAP_low"], scores[f"{KEY}mAP_high"]
    assert low - 1e-9 <= scores[f"{KEY}mAP"] <= high + 1e-9


def test_ranges_of_own_classes(own_root, tmp_path):
    """The shuttle drives about 11 m away, the dog sits at 12 m."""
    dataset = build(own_root, ("shuttle", "dog"))
    near = evaluate(dataset, disturbed(dataset), class_range=dict(dog=1.0))
    assert near[f"{KEY}dog_AP_dist_2.0"] == 0
    assert near[f"{KEY}shuttle_AP_dist_2.0"] == 1
    tiny = (-1.0, -1.0, -5.0, 1.0, 1.0, 3.0)
    outside = evaluate(dataset, disturbed(dataset), range_m=tiny, jsonfile_prefix=str(tmp_path))
    assert outside[f"{KEY}mAP"] == 0
    written = json.loads((tmp_path / "pred_instances_3d/results_nusc.json").read_text())
    assert [len(boxes) for boxes in written["results"].values()] == [0] * len(dataset)
    with pytest.raises(ValueError, match=r"class_range: expected classes among .* got \['cat'\]"):
        evaluate(dataset, disturbed(dataset), class_range=dict(cat=1.0))


def test_official_ranges_are_not_changed(tiny_nuscenes):
    dataset = build(tiny_nuscenes, NUSCENES_CLASSES)
    with pytest.raises(ValueError, match=r"class_range: expected none .* got \['car'\]"):
        evaluate(dataset, disturbed(dataset), class_range=dict(car=75.0))


def crowded(dataset):
    """600 boxes a frame: the truth with the best scores, and 595 far from everything."""
    for info, boxes, scores, labels in disturbed(dataset):
        crowd = np.tile(boxes[:1], (600 - len(boxes), 1))
        crowd[:, 0] -= 30
        low = np.full(len(crowd), 0.05, np.float32)
        # The truth comes last, so that cutting by place would lose it.
        yield (
            info,
            np.concatenate([crowd, boxes]),
            np.concatenate([low, scores]),
            np.concatenate([np.zeros(len(crowd), labels.dtype), labels]),
        )


@pytest.mark.parametrize("classes", [NUSCENES_CLASSES, ("car", "truck")])
def test_of_more_than_500_boxes_the_best_are_scored(tiny_nuscenes, tmp_path, monkeypatch, classes):
    said = []
    monkeypatch.setattr("padre3d.data.metric.print_log", lambda text, *_: said.append(text))
    dataset = build(tiny_nuscenes, classes)
    scores = evaluate(dataset, crowded(dataset), jsonfile_prefix=str(tmp_path))
    # All but the last of 90 recalls: there the false detections begin.
    assert scores[f"{KEY}car_AP_dist_0.5"] == pytest.approx(1 - 1 / 90, abs=1e-3)
    written = json.loads((tmp_path / "pred_instances_3d/results_nusc.json").read_text())["results"]
    assert [len(boxes) for boxes in written.values()] == [500] * len(dataset)
    assert said.count(f"more than 500 boxes in {len(dataset)} frames: the best 500 count") == 1
