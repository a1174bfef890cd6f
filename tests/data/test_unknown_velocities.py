"""A velocity that nobody knows: from the tables through the training pipeline to the loss."""

import copy
import json

import numpy as np
import pytest
import small_detector
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import load

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.gt_sampling import SampleGroundTruth
from padre3d.data.point_files import write_pickle
from padre3d.data.prepare import prepare_nuscenes
from padre3d.structures.classes import NUSCENES_CLASSES

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
FILE = "nuscenes_infos_train.pkl"
NEAR_M = [-10.8, -10.8, -5.0, 10.8, 10.8, 3.0]


@pytest.fixture
def once(raw_root):
    """A data set whose objects are annotated once, so that no velocity is known."""
    path = raw_root / "v1.0-mini" / "sample_annotation.json"
    rows = [{**row, "prev": "", "next": ""} for row in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    prepare_nuscenes(raw_root, "v1.0-mini")
    return raw_root


def pipeline(repo_root):
    """The configs' training pipeline, with what the small detector sees."""
    cfg = Config.fromfile(repo_root / "configs/_base_/datasets/nuscenes_nocbgs.py")
    steps = [copy.deepcopy(dict(step)) for step in (cfg.load_points, *cfg.train_pipeline)]
    for step in steps:
        if step["type"].endswith("RangeFilter"):
            step["point_cloud_range"] = NEAR_M
    return steps


def build(root, **settings):
    return NuScenesSweepsDataset(
        str(root), FILE, data_prefix=PREFIX, metainfo=dict(classes=NUSCENES_CLASSES), **settings
    )


def velocity_gradient(dataset):
    """Of the loss with respect to the layers that predict velocities, and all boxes."""
    np.random.seed(0)
    torch.manual_seed(0)
    samples = [dataset[i] for i in range(len(dataset))]
    model = small_detector.build().train()
    data = model.data_preprocessor(pseudo_collate(samples), training=True)
    losses = model(**data, mode="loss")
    total = sum(v.sum() for k, v in losses.items() if "loss" in k)
    assert torch.isfinite(total)
    total.backward()
    grads = [p.grad for name, p in model.head.named_parameters() if ".vel." in name]
    assert grads
    boxes = [sample["data_samples"].gt_instances_3d.bboxes_3d.tensor for sample in samples]
    return sum(0.0 if g is None else float(g.abs().sum()) for g in grads), torch.cat(boxes)


def test_through_augmentation_and_sampling_to_the_loss(once, repo_root):
    steps = pipeline(repo_root)
    gradient, boxes = velocity_gradient(build(once, pipeline=steps))
    assert len(boxes) > 4
    assert torch.isnan(boxes[:, 7:]).all()
    assert torch.isfinite(boxes[:, :7]).all()
    assert gradient == 0
    gradient, boxes = velocity_gradient(build(once, pipeline=steps, unknown_velocity=0.0))
    assert (boxes[:, 7:] == 0).all()
    assert gradient > 0


@pytest.mark.parametrize("use_valid_flag", [False, True])
def test_each_box_has_its_own(tiny_nuscenes, tmp_path, use_valid_flag):
    """Boxes before it that do not count shift nothing; one unknown number makes both unknown."""
    content = load(tiny_nuscenes / FILE)
    instances = content["data_list"][0]["instances"]
    instances[0] |= {"num_lidar_pts": 0, "bbox_3d_isvalid": False}
    instances[2]["velocity"] = [float("nan"), 1.0]
    instances[3]["velocity"] = [1.0, float("nan")]
    write_pickle(tmp_path / FILE, content)
    dataset = build(tmp_path, use_valid_flag=use_valid_flag)
    velocities = dataset.get_data_info(0)["ann_info"]["gt_bboxes_3d"].tensor[:, 7:]
    expected = [i["velocity"] for i in instances[1:]]
    expected[1] = expected[2] = [float("nan")] * 2
    np.testing.assert_allclose(velocities, expected, atol=1e-6)


def test_a_frame_without_objects(tiny_nuscenes, tmp_path):
    content = load(tiny_nuscenes / FILE)
    content["data_list"][0]["instances"] = []
    write_pickle(tmp_path / FILE, content)
    assert build(tmp_path).get_data_info(0)["ann_info"]["gt_bboxes_3d"].tensor.shape == (0, 9)


def test_the_database_keeps_it(once):
    entries = load(once / "nuscenes_dbinfos_train.pkl")
    assert all(np.isnan(e["box3d_lidar"][7:]).all() for es in entries.values() for e in es)
    loaded = SampleGroundTruth(data_root=str(once)).database
    assert all(np.isfinite(boxes[:, :7]).all() for boxes, _ in loaded.values())
