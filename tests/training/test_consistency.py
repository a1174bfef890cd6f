"""Range and classes in one place: data and metric follow the model, or the run is refused."""

import pytest
from mmdet3d.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import DefaultScope

import padre3d.plugin  # noqa: F401
from padre3d.training.consistency import check_consistent, override

RANGE_M = (-27.0, -27.0, -5.0, 27.0, 27.0, 3.0)
OWN = ["shuttle", "dog", "pedestrian"]


@pytest.fixture
def config(repo_root, monkeypatch, tiny_nuscenes):
    monkeypatch.setenv("SYNTHETIC_ROOT", str(tiny_nuscenes))
    monkeypatch.setenv("NUSCENES_ROOT", str(tiny_nuscenes))
    return lambda name="dsvt_padre2_synthetic": Config.fromfile(repo_root / f"configs/{name}.py")


def steps(cfg, kind):
    """The steps of a kind in all three loaders."""
    found = []
    for name in ("train", "val", "test"):
        dataset = cfg[f"{name}_dataloader"].dataset
        while "dataset" in dataset:
            dataset = dataset.dataset
        found += [step for step in dataset.pipeline if step["type"] == kind]
    return found


@pytest.mark.parametrize("name", ["dsvt_padre2_synthetic", "dsvt_padre2_nuscenes"])
def test_the_range_of_the_model_is_that_of_data_and_metric(config, name):
    cfg = config(name)
    override(cfg, {"model.grid.range_m": list(RANGE_M)})
    filters = steps(cfg, "PointsRangeFilter") + steps(cfg, "ObjectRangeFilter")
    assert [tuple(step["point_cloud_range"]) for step in filters] == [RANGE_M] * 4
    assert tuple(cfg.val_evaluator.range_m) == tuple(cfg.test_evaluator.range_m) == RANGE_M
    check_consistent(cfg)


def test_a_wider_range_brings_farther_points(config):
    cfg = config()
    wide = [-67.5, -67.5, -5.0, 67.5, 67.5, 3.0]
    reach = {}
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        for name, options in (("usual", None), ("wide", {"model.grid.range_m": wide})):
            override(cfg, options)
            points = DATASETS.build(cfg.val_dataloader.dataset)[0]["inputs"]["points"]
            reach[name] = float(points[:, :2].abs().max())
        assert METRICS.build(cfg.test_evaluator).range_m == tuple(wide)
    assert reach["usual"] < 54 < reach["wide"] < 67.5


def test_the_class_list_of_the_model_is_that_of_the_data(config):
    cfg = config("dsvt_padre2_nuscenes")
    override(cfg, {"model.class_names": OWN})
    (names,) = steps(cfg, "ObjectNameFilter")
    assert list(names["classes"]) == OWN
    assert list(cfg.train_dataloader.dataset.dataset.metainfo.classes) == OWN
    assert list(cfg.test_dataloader.dataset.metainfo.classes) == OWN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"val_dataloader.dataset.pipeline.2.point_cloud_range": list(RANGE_M)},
            r"val_dataloader\.dataset\.pipeline\.2 \(PointsRangeFilter\).*expected \[-54.*"
            r"as model\.grid\.range_m says, got \[-27",
        ),
        (
            {"train_dataloader.dataset.metainfo.classes": OWN},
            r"train_dataloader\.dataset\.metainfo\.classes: expected .*'car'.*model\.class_names "
            r"says, got \['shuttle', 'dog', 'pedestrian'\]",
        ),
    ],
)
def test_a_contradiction_is_refused_before_the_run(config, options, message):
    cfg = config()
    with pytest.raises(ValueError, match=message):
        override(cfg, options)
    with pytest.raises(ValueError, match=message):
        check_consistent(cfg)


def test_another_tool_s_run_is_refused_too(config, tmp_path):
    from mmengine.runner import Runner

    cfg = config()
    cfg.merge_from_dict({"model.grid.range_m": list(RANGE_M), "work_dir": str(tmp_path)})
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    with pytest.raises(ValueError, match="as model.grid.range_m says"):
        Runner.from_cfg(cfg).train()
    assert not list(tmp_path.rglob("*.pth"))


def test_a_model_of_another_kind_is_left_alone():
    cfg = Config(dict(model=dict(type="CenterPoint"), val_dataloader=dict(dataset=dict())))
    override(cfg, {"model.type": "Other"})
    check_consistent(cfg)
    assert cfg.to_dict() == dict(model=dict(type="Other"), val_dataloader=dict(dataset=dict()))


@pytest.mark.parametrize(
    ("key", "meant"),
    [("randomnes.seed", "randomness"), ("optim_wraper.optimizer.lr", "optim_wrapper")],
)
def test_an_override_of_a_key_that_the_config_lacks_is_refused(config, key, meant):
    cfg = config()
    with pytest.raises(ValueError, match=rf"{key}: expected a key .*did you mean {meant}\?"):
        override(cfg, {key: 1})
    assert key.split(".")[0] not in cfg


def test_optional_keys_and_a_mixer_in_place_of_another_pass(config):
    cfg = config()
    mixer = {"model.backbone.mixer._delete_": True, "model.backbone.mixer.type": "linear"}
    override(cfg, {**mixer, "find_unused_parameters": True, "efficient_conv_bn_eval": []})
    assert dict(cfg.model.backbone.mixer) == {"type": "linear"}
    assert cfg.find_unused_parameters
