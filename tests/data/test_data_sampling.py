from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from mmdet3d.structures.points import LiDARPoints
from mmengine.dataset import ConcatDataset, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from padre3d.data.boxes import bev_overlaps_any, points_in_boxes
from padre3d.data.datasets import NuScenesSweepsDataset, SeededCBGSDataset
from padre3d.data.gt_sampling import SampleGroundTruth
from padre3d.training.hooks import FadeGroundTruthSampling, samplers_of

CLASSES = ("car", "truck", "bicycle", "bus")
PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")


def frame(tiny_nuscenes, num_points=3000):
    rng = np.random.default_rng(0)
    points = rng.uniform(-30, 30, (num_points, 5)).astype(np.float32)
    points[:, 2] /= 10
    boxes = torch.tensor([[0.0, 0, -1, 4, 2, 1.5, 0.3, 1, 0]])
    return dict(
        points=LiDARPoints(torch.from_numpy(points), points_dim=5),
        gt_bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9),
        gt_labels_3d=np.array([0]),
        classes=CLASSES,
    )


def sampler(tiny_nuscenes, **groups):
    return SampleGroundTruth(sample_groups=groups, data_root=str(tiny_nuscenes))


def test_objects_are_pasted_with_box_label_velocity_and_points(tiny_nuscenes):
    np.random.seed(0)
    before = frame(tiny_nuscenes)
    old_points = before["points"].tensor.numpy().copy()
    results = sampler(tiny_nuscenes, truck=1).transform(before)
    boxes = results["gt_bboxes_3d"].numpy()
    assert results["gt_labels_3d"].tolist() == [0, 1]
    database_boxes, files = sampler(tiny_nuscenes, truck=1).database["truck"]
    number = int(np.flatnonzero((database_boxes == boxes[1]).all(1))[0])
    own = np.fromfile(tiny_nuscenes / files[number].decode(), np.float32).reshape(-1, 5)
    own[:, :3] += boxes[1, :3]
    points = results["points"].numpy()
    np.testing.assert_array_equal(points[: len(own)], own)
    # The frame's own points inside the pasted box are gone, all others are there.
    hidden = points_in_boxes(old_points, boxes[1:])[0]
    assert len(hidden) > 0
    np.testing.assert_array_equal(points[len(own) :], np.delete(old_points, hidden, axis=0))


def test_classes_are_filled_up_and_nothing_overlaps(tiny_nuscenes):
    np.random.seed(1)
    groups = dict(car=3, truck=2, bicycle=4, bus=5, pedestrian=9)
    transform = sampler(tiny_nuscenes, **groups)
    seen = set()
    for _ in range(20):
        results = transform.transform(frame(tiny_nuscenes, 10))
        boxes, labels = results["gt_bboxes_3d"].numpy(), results["gt_labels_3d"]
        assert len(boxes) == len(labels)
        assert (labels == 0).sum() <= 3
        assert (labels == 1).sum() <= 2
        assert (labels == 2).sum() <= 4
        # The database has no bus; pedestrians are none of the classes.
        assert labels.max() <= 2
        for i in range(len(boxes)):
            assert not bev_overlaps_any(boxes[i], np.delete(boxes, i, axis=0))
        seen.add(len(labels))
    assert max(seen) > 5


def test_a_class_that_has_enough_gets_no_more(tiny_nuscenes):
    results = sampler(tiny_nuscenes, car=1).transform(frame(tiny_nuscenes))
    assert results["gt_labels_3d"].tolist() == [0]


def test_into_an_empty_frame(tiny_nuscenes):
    empty = frame(tiny_nuscenes, 0)
    empty["gt_bboxes_3d"] = LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9)
    empty["gt_labels_3d"] = np.zeros(0, np.int64)
    results = sampler(tiny_nuscenes, truck=1).transform(empty)
    assert results["gt_labels_3d"].tolist() == [1]
    assert len(results["points"]) > 60


def test_objects_with_too_few_points_are_left_out(tiny_nuscenes):
    # The traffic cone has 1 point per sweep: 10 in all; only the padded or full frames reach 10.
    loose = SampleGroundTruth({"traffic_cone": 1}, data_root=str(tiny_nuscenes), min_points=10)
    strict = SampleGroundTruth({"traffic_cone": 1}, data_root=str(tiny_nuscenes), min_points=11)
    assert len(loose.database["traffic_cone"][0]) == 4
    assert "traffic_cone" not in strict.database


def test_missing_database_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dbinfos_train\.pkl; make it with tools/create"):
        SampleGroundTruth({"car": 2}, data_root=str(tmp_path))


class CountBoxes:
    """Stands for the rest of a pipeline: what the sampler made of a frame."""

    def __call__(self, results):
        return {
            "data_samples": SimpleNamespace(
                gt_instances_3d=SimpleNamespace(labels_3d=results["gt_labels_3d"])
            ),
            "count": len(results["gt_labels_3d"]),
        }


def training_data(tiny_nuscenes):
    return NuScenesSweepsDataset(
        str(tiny_nuscenes),
        "nuscenes_infos_train.pkl",
        data_prefix=PREFIX,
        metainfo=dict(classes=("car", "truck", "bicycle")),
        pipeline=[
            dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
            dict(type="LoadSweeps", num_sweeps=1),
            dict(type="SampleGroundTruth", sample_groups=dict(car=3, truck=3, bicycle=3)),
            CountBoxes(),
        ],
    )


def runner(loader, epoch, max_epochs=20, loop=EpochBasedTrainLoop):
    return SimpleNamespace(
        train_loop=loop.__new__(loop),
        epoch=epoch,
        max_epochs=max_epochs,
        train_dataloader=loader,
        logger=MMLogger.get_current_instance(),
    )


@pytest.mark.parametrize("start", [0, 16, 18])
def test_sampling_is_off_in_the_last_four_epochs_wherever_the_training_starts(tiny_nuscenes, start):
    hook = FadeGroundTruthSampling(last_epochs=4)
    loader = DataLoader(SeededCBGSDataset(training_data(tiny_nuscenes)))
    (sampler,) = samplers_of(loader.dataset)
    states = []
    for epoch in range(start, 20):
        hook.before_train_epoch(runner(loader, epoch))
        states.append(sampler.disabled)
    assert states == [epoch >= 16 for epoch in range(start, 20)]


def test_a_training_counted_in_iterations_keeps_its_sampling(tiny_nuscenes):
    loader = DataLoader(training_data(tiny_nuscenes))
    run = runner(loader, 0, max_epochs=1, loop=IterBasedTrainLoop)
    FadeGroundTruthSampling(last_epochs=1).before_train_epoch(run)
    assert not samplers_of(loader.dataset)[0].disabled


def test_a_new_training_with_the_same_data_switches_on_again(tiny_nuscenes):
    loader = DataLoader(training_data(tiny_nuscenes))
    hook = FadeGroundTruthSampling()
    hook.before_train_epoch(runner(loader, 19))
    hook.before_train_epoch(runner(loader, 0))
    assert not samplers_of(loader.dataset)[0].disabled


def test_samplers_are_found_in_concatenated_data(tiny_nuscenes):
    both = ConcatDataset([training_data(tiny_nuscenes), training_data(tiny_nuscenes)])
    assert len(samplers_of(both)) == 2


@pytest.mark.parametrize("persistent", [False, True])
def test_worker_processes_see_the_change(tiny_nuscenes, persistent):
    """Six objects in a frame; sampling adds to them."""
    loader = DataLoader(
        SeededCBGSDataset(training_data(tiny_nuscenes)),
        batch_size=4,
        num_workers=1,
        persistent_workers=persistent,
        collate_fn=pseudo_collate,
    )
    hook = FadeGroundTruthSampling(last_epochs=2)
    most = []
    for epoch in range(4):
        hook.before_train_epoch(runner(loader, epoch, max_epochs=4))
        # Six objects in a frame, three of them of other classes (label -1).
        most.append(max(count for batch in loader for count in batch["count"]))
    assert most[0] > 6
    assert most[1] > 6
    assert most[2:] == [6, 6]


def test_classes_without_a_group_get_their_number_too(tiny_nuscenes):
    """Under a class list of one's own, whose names no config knows."""
    np.random.seed(1)
    transform = SampleGroundTruth(dict(truck=1), data_root=str(tiny_nuscenes), others=2)
    counts = np.zeros(len(CLASSES), int)
    for _ in range(20):
        labels = transform.transform(frame(tiny_nuscenes, 10))["gt_labels_3d"]
        counts = np.maximum(counts, np.bincount(labels, minlength=len(CLASSES)))
    # One truck wanted; two of the others; the database has no bus.
    assert counts.tolist() == [2, 1, 2, 0]
