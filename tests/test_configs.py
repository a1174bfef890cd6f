"""Every config: its data, its recipe, one training step and one test step on tiny frames."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from small_detector import assert_sane

import padre3d.plugin  # noqa: F401
from padre3d.structures.classes import NUSCENES_CLASSES

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("dsvt*.py"))
# Full-size maps take minutes on a CPU: they are cut to 80 x 80 cells, three windows a side.
CROP_M = 12.0
MOST_CELLS = 200
SEQUENCE = dict(type="padre", preset="sequence", kernel_size=11)
PAPER = dict(type="padre", degree=2, preset="paper", kernel_size=11, impl="eager")
GRID = dict(SEQUENCE, degree=2, layout="grid", kernel_size=5)
ATTENTION = dict(type="set_attention", num_heads=8)
# Epochs, peak rate, samples per step of that rate, epochs without pasted objects, CBGS, mixer.
REFERENCE = dict(epochs=20, peak=5e-3, base_batch=32, fade=4, cbgs=True)
CHEAPER = dict(epochs=36, peak=3e-3, base_batch=16, fade=4, cbgs=False)
RECIPES = {
    "dsvt_padre2_nuscenes": dict(REFERENCE, mixer=dict(SEQUENCE, degree=2, impl="auto")),
    "dsvt_padre2_grid_nuscenes": dict(REFERENCE, mixer=GRID),
    "dsvt_padre2_fast_nuscenes": dict(REFERENCE, mixer=dict(SEQUENCE, degree=2, impl="auto")),
    "dsvt_padre3_nuscenes": dict(REFERENCE, mixer=dict(SEQUENCE, degree=3, impl="auto")),
    "dsvt_padre2_paper_nuscenes": dict(REFERENCE, mixer=PAPER),
    "dsvt_nuscenes": dict(REFERENCE, mixer=ATTENTION),
    "dsvt_nuscenes_reference": dict(REFERENCE, mixer=ATTENTION),
    "dsvt_padre2_nuscenes_36e_nocbgs": dict(CHEAPER, mixer=dict(SEQUENCE, degree=2, impl="auto")),
    "dsvt_padre3_nuscenes_36e_nocbgs": dict(CHEAPER, mixer=dict(SEQUENCE, degree=3, impl="auto")),
    "dsvt_nuscenes_36e_nocbgs": dict(CHEAPER, mixer=ATTENTION),
}
SYNTHETIC = ("dsvt_padre2_synthetic", "dsvt_padre2_grid_synthetic")
every_config = pytest.mark.parametrize("path", CONFIGS, ids=[p.stem for p in CONFIGS])


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        yield


@pytest.fixture
def load(monkeypatch, tiny_nuscenes):
    monkeypatch.setenv("NUSCENES_ROOT", str(tiny_nuscenes))
    monkeypatch.setenv("SYNTHETIC_ROOT", str(tiny_nuscenes))
    return Config.fromfile


def cropped(model_cfg: dict) -> dict:
    """The model config on a smaller map; windows, widths and layers stay."""
    cfg = copy.deepcopy(model_cfg)
    x_low, _, z_low, x_high, _, z_high = cfg["grid"]["range_m"]
    if (x_high - x_low) / cfg["grid"]["cell_m"][0] > MOST_CELLS:
        cfg["grid"]["range_m"] = (-CROP_M, -CROP_M, z_low, CROP_M, CROP_M, z_high)
    return cfg


def collate(samples: list[dict], grid) -> dict:
    """Data samples cut to the grid, as a loader would batch them."""
    low, high = grid.range_m[:2], grid.range_m[3:5]
    points = [s["inputs"]["points"] for s in samples]
    for s in samples:
        truth = s["data_samples"].gt_instances_3d
        if "bboxes_3d" in truth:
            s["data_samples"].gt_instances_3d = truth[
                truth.bboxes_3d.in_range_bev((*low, *high)).bool()
            ]
    return dict(inputs=dict(points=points), data_samples=[s["data_samples"] for s in samples])


def with_an_odd_number_of_boxes(batch: dict) -> dict:
    """Of an even number the signs of the L1 loss may cancel in the gradient of a bias."""
    count = sum(len(s.gt_instances_3d) for s in batch["data_samples"])
    fullest = max(batch["data_samples"], key=lambda s: len(s.gt_instances_3d))
    fullest.gt_instances_3d = fullest.gt_instances_3d[count % 2 == 0 :]
    return batch


class KeepGradients(OptimWrapper):
    """Leaves the gradients of the step for the test to read."""

    def zero_grad(self, **kwargs):
        """Do nothing."""


@every_config
def test_one_training_step_and_one_test_step(load, path):
    cfg = load(path)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    model = MODELS.build(cropped(cfg.model))
    train_data = DATASETS.build(cfg.train_dataloader.dataset)
    batch = collate([train_data[0], train_data[len(train_data) - 1]], model.grid)
    batch = with_an_odd_number_of_boxes(batch)
    assert sum(len(s.gt_instances_3d.labels_3d) for s in batch["data_samples"]) > 0
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    log = model.train_step(batch, KeepGradients(optimizer))
    for name in ("loss_heatmap", "loss_cls", "loss_bbox", "loss_iou"):
        assert 0 < log[name] < 1e4, (name, log)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, f"{name} has gradient 0"
        assert not torch.equal(parameter, before[name]), f"{name} stays"

    val_data = DATASETS.build(cfg.val_dataloader.dataset)
    batch = collate([val_data[0]], model.grid)
    model.eval()
    with torch.no_grad():
        (result,) = model.test_step(batch)
    assert_sane(result.pred_instances_3d, model)
    assert len(result.pred_instances_3d) > 0


@every_config
def test_data_pipelines_and_hooks_build(load, path):
    cfg = load(path)
    x_low, y_low, z_low, x_high, y_high, z_high = cfg.model.grid.range_m
    for split in ("train", "val", "test"):
        dataset = DATASETS.build(cfg[f"{split}_dataloader"].dataset)
        data = dataset[1]
        points = data["inputs"]["points"]
        assert points.shape[1] == cfg.model.pillar_encoder.in_channels
        assert len(points) > 800  # the synthetic configs stack three sweeps
        assert ((points[:, 0] > x_low) & (points[:, 0] < x_high)).all()
        assert ((points[:, 1] > y_low) & (points[:, 1] < y_high)).all()
        assert ((points[:, 2] > z_low) & (points[:, 2] < z_high)).all()
        assert tuple(dataset.metainfo["classes"]) == NUSCENES_CLASSES
        truth = data["data_samples"].gt_instances_3d
        assert len(truth) >= (5 if split == "train" else 0)
        assert set(truth.get("labels_3d", torch.zeros(0)).tolist()) <= set(range(10))
    for hook in [*cfg.custom_hooks, *cfg.default_hooks.values()]:
        HOOKS.build(dict(hook))


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(load, repo_root, name):
    cfg, recipe = load(repo_root / f"configs/{name}.py"), RECIPES[name]
    assert cfg.train_cfg.max_epochs == recipe["epochs"]
    rise, fall = cfg.param_scheduler[:2]
    assert cfg.optim_wrapper.optimizer.type == "AdamW"
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 35
    peak = cfg.optim_wrapper.optimizer.lr * rise.eta_min_ratio
    assert peak == pytest.approx(recipe["peak"])
    assert rise.end == fall.begin == pytest.approx(0.4 * recipe["epochs"])
    assert fall.end == recipe["epochs"]
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=recipe["base_batch"])
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.custom_hooks == [dict(type="FadeGroundTruthSampling", last_epochs=recipe["fade"])]
    is_cbgs = cfg.train_dataloader.dataset.type == "SeededCBGSDataset"
    assert is_cbgs == recipe["cbgs"]
    dataset = cfg.train_dataloader.dataset.dataset if is_cbgs else cfg.train_dataloader.dataset
    steps = {step.type: step for step in dataset.pipeline}
    assert steps["LoadSweeps"].num_sweeps == 10
    assert list(steps).index("SampleGroundTruth") < list(steps).index("RandomFlip3D")
    assert steps["GlobalRotScaleTrans"].rot_range == pytest.approx([-torch.pi / 4, torch.pi / 4])
    assert dict(cfg.model.backbone.mixer) == recipe["mixer"]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_recipe_lasts_as_long_as_its_schedule(load, repo_root, name):
    cfg = load(repo_root / f"configs/{name}.py")
    epochs = cfg.train_cfg.max_epochs
    rise, fall, *momenta = cfg.param_scheduler
    assert (rise.begin, rise.end, fall.end) == (0, fall.begin, epochs)
    assert [m.end for m in momenta] == [rise.end, epochs]
    # mmengine validates after the last epoch whatever the interval is.
    assert cfg.train_cfg.val_begin > epochs
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert dict(pipeline[0]) == dict(cfg.val_dataloader.dataset.pipeline[0])
    assert "SampleGroundTruth" not in [step.type for step in pipeline]
    TRANSFORMS.build(dict(pipeline[0]))


def test_every_nuscenes_config_has_a_recipe():
    assert {p.stem for p in CONFIGS} == {*RECIPES, *SYNTHETIC}
