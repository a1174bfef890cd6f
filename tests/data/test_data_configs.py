import copy
import math
import os
import random

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from padre3d.structures.classes import NUSCENES_CLASSES

EPOCH_LENGTH = 10


@pytest.fixture
def base(repo_root, monkeypatch, tiny_nuscenes):
    monkeypatch.setenv("NUSCENES_ROOT", str(tiny_nuscenes))
    return lambda name: Config.fromfile(repo_root / "configs/_base_" / name)


@pytest.mark.parametrize(
    ("name", "wrapper", "length"),
    [("nuscenes.py", "SeededCBGSDataset", 20), ("nuscenes_nocbgs.py", "NuScenesSweepsDataset", 4)],
)
def test_training_data(base, name, wrapper, length):
    cfg = base(f"datasets/{name}").train_dataloader.dataset
    assert cfg.type == wrapper
    dataset = DATASETS.build(cfg)
    assert len(dataset) == length
    assert tuple(dataset.metainfo["classes"]) == NUSCENES_CLASSES
    sample = dataset[3]
    points = sample["inputs"]["points"]
    truth = sample["data_samples"].gt_instances_3d
    assert points.shape[1] == 5
    assert (points[:, :2].abs() < 54).all()
    assert ((points[:, 2] > -5) & (points[:, 2] < 3)).all()
    assert set(truth.labels_3d.tolist()) <= {0, 1, 7, 8, 9}
    assert truth.bboxes_3d.tensor.shape == (len(truth.labels_3d), 9)


def test_validation_data_are_the_same_twice(base):
    dataset = DATASETS.build(base("datasets/nuscenes.py").val_dataloader.dataset)
    first, second = dataset[2], dataset[2]
    torch.testing.assert_close(
        first["inputs"]["points"], second["inputs"]["points"], rtol=0, atol=0
    )
    lags = first["inputs"]["points"][:, 4].unique()
    torch.testing.assert_close(lags, torch.arange(10) * 0.05, atol=1e-5, rtol=0)


def frames_by_both_loaders(base, split):
    """Four frames each through mmdet3d's loader and ours."""
    cfg = base("datasets/nuscenes_nocbgs.py")[f"{split}_dataloader"].dataset
    old = copy.deepcopy(cfg)
    first = old.pipeline.pop(0)
    assert (first.type, old.pipeline[0].type) == ("LoadPointsFromFile", "LoadSweeps")
    samples = []
    for dataset in (DATASETS.build(cfg), DATASETS.build(old)):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(0)
        samples.append([dataset[i] for i in range(4)])
    return list(zip(*samples, strict=True))


@pytest.mark.parametrize("split", ["train", "val"])
def test_pipelines_that_begin_with_our_loader_give_the_same_points(base, split):
    """The form of configs written before mmdet3d's own loader went first."""
    for new, former in frames_by_both_loaders(base, split):
        assert torch.equal(new["inputs"]["points"], former["inputs"]["points"])


def test_pipelines_that_begin_with_our_loader_give_the_same_boxes(base):
    for frames in frames_by_both_loaders(base, "train"):
        truth = [frame["data_samples"].gt_instances_3d for frame in frames]
        assert torch.equal(*(t.bboxes_3d.tensor for t in truth))
        assert len(truth[0]) > 0


def test_root_and_classes_by_options(base, tiny_nuscenes):
    cfg = base("datasets/nuscenes.py")
    cfg.merge_from_dict(
        {
            "train_dataloader.dataset.dataset.data_root": str(tiny_nuscenes) + os.sep,
            "train_dataloader.dataset.dataset.metainfo.classes": ["bicycle", "car"],
        }
    )
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    labels = {
        int(i) for n in range(8) for i in dataset[n]["data_samples"].gt_instances_3d.labels_3d
    }
    assert labels == {0, 1}


def test_the_default_root(repo_root, monkeypatch):
    monkeypatch.delenv("NUSCENES_ROOT", raising=False)
    cfg = Config.fromfile(repo_root / "configs/_base_/datasets/nuscenes.py")
    assert cfg.val_dataloader.dataset.data_root == "data/nuscenes"
    assert cfg.train_dataloader.dataset.dataset.data_root == "data/nuscenes"


def test_evaluator_needs_no_paths(base):
    metric = METRICS.build(base("datasets/nuscenes.py").val_evaluator)
    assert metric.data_root is None


def cosine(start, end, part):
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


@pytest.mark.parametrize("ratio", [1.0, 0.25])
@pytest.mark.parametrize(
    ("name", "epochs", "peak"),
    [("onecycle_20e.py", 20, 5e-3), ("onecycle_36e_nocbgs.py", 36, 3e-3)],
)
def test_one_cycle_follows_its_formula(base, name, epochs, peak, ratio):
    """Also after scaling the optimizer's rate, which is what --auto-scale-lr does."""
    cfg = base(f"schedules/{name}")
    assert cfg.train_cfg.max_epochs == epochs
    settings = cfg.optim_wrapper.optimizer
    peak *= ratio
    optimizer = torch.optim.AdamW(
        [torch.zeros(1, requires_grad=True)], lr=settings.lr * ratio, betas=settings.betas
    )
    schedulers = [
        PARAM_SCHEDULERS.build(
            dict(s), default_args=dict(optimizer=optimizer, epoch_length=EPOCH_LENGTH)
        )
        for s in cfg.param_scheduler
    ]
    total = epochs * EPOCH_LENGTH
    turn = 0.4 * total
    for step in range(total):
        group = optimizer.param_groups[0]
        if step < turn:
            rate, momentum = cosine(peak / 10, peak, step / turn), cosine(0.95, 0.85, step / turn)
        else:
            part = (step - turn) / (total - turn)
            rate, momentum = cosine(peak, peak / 1e5, part), cosine(0.85, 0.95, part)
        # mmengine counts the steps between begin and end - 1: one step of difference.
        slack = 2.5 / turn
        assert group["lr"] == pytest.approx(rate, abs=peak * slack)
        assert group["betas"][0] == pytest.approx(momentum, abs=0.1 * slack)
        assert group["betas"][1] == 0.99
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert optimizer.param_groups[0]["lr"] < peak * 1e-3


def test_samples_per_step(base):
    loader = base("datasets/nuscenes.py").train_dataloader
    assert base("schedules/onecycle_20e.py").auto_scale_lr.base_batch_size == 8 * loader.batch_size
    assert base("schedules/onecycle_36e_nocbgs.py").auto_scale_lr.base_batch_size == 16
