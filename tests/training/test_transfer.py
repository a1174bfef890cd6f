"""Fine-tuning: other classes, frozen parts, averaged weights."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from small_detector import MODEL, batch, cloud, losses, total

import padre3d.plugin  # noqa: F401
from padre3d.inference import load_weights
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.training.transfer import class_names_of, transfer_classes

OLD = ("car", "truck", "pedestrian", "dog")
NEW = ("dog", "tram", "car")
CLASS_ROWS = {
    "head.heatmap_head.3.weight": 0,
    "head.heatmap_head.3.bias": 0,
    "head.class_embedding.weight": 1,
    "head.branches.heatmap.3.weight": 0,
    "head.branches.heatmap.3.bias": 0,
}


def build(classes=OLD, seed=0, **settings):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return MODELS.build({**copy.deepcopy(MODEL), "class_names": classes, **settings})


def test_classes_are_kept_by_name_and_the_rest_starts_fresh():
    old, new = build(OLD, 0).state_dict(), build(NEW, 1).state_dict()
    moved = transfer_classes(old, new, OLD, NEW)
    assert moved.keys() == new.keys()
    assert [key for key, value in moved.items() if value.shape != new[key].shape] == []
    for key in moved.keys() - CLASS_ROWS.keys():
        torch.testing.assert_close(moved[key], old[key], rtol=0, atol=0)
    for key, axis in CLASS_ROWS.items():
        for row, (source, number) in enumerate(((old, 3), (new, 1), (old, 0))):
            expected = source[key].select(axis, number)
            torch.testing.assert_close(moved[key].select(axis, row), expected, rtol=0, atol=0)


def test_bare_weights_of_an_unknown_file_have_no_class_names():
    assert class_names_of({"a": torch.zeros(1)}, None) is None


def test_as_many_classes_in_another_order_are_moved_too():
    model = build(OLD)
    swapped = build(OLD[::-1])
    swapped.load_state_dict(
        transfer_classes(model.state_dict(), swapped.state_dict(), OLD, OLD[::-1])
    )
    points = [cloud(900, 3)]
    with torch.no_grad():
        before, after = (m.eval().forward_points(points) for m in (model, swapped))
    torch.testing.assert_close(after.dense_heatmap, before.dense_heatmap.flip(1))


def test_another_number_of_rows_is_refused():
    old, new = build(OLD).state_dict(), build(NEW).state_dict()
    with pytest.raises(ValueError, match=r"heatmap_head\.3\.weight: expected 2 and 3 classes"):
        transfer_classes(old, new, OLD[:2], NEW)


def runner(model, work_dir, hooks=(), **settings):
    """An mmengine runner of one step an epoch over two clouds."""
    data = [batch([cloud(700, seed)]) for seed in (1, 2)]
    loader = torch.utils.data.DataLoader(data, batch_size=None)
    return Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3)),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=1),
            logger=None,
            sampler_seed=None,
            plain_checkpoint=dict(type="PlainCheckpointHook"),
            class_transfer=dict(type="ClassTransferHook"),
        ),
        custom_hooks=list(hooks),
        default_scope="mmdet3d",
        experiment_name=f"run {work_dir.name}",
        log_level="INFO",
        **settings,
    )


def test_the_log_lists_kept_and_fresh_classes(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("padre3d.training.transfer.print_log", lambda text, *_: said.append(text))
    former = build(OLD)
    path = tmp_path / "former.pth"
    meta = {"dataset_meta": {"classes": OLD}}
    torch.save({"state_dict": former.state_dict(), "meta": meta}, path)
    model = build(NEW, 1)
    run = runner(model, tmp_path, load_from=str(path))
    run.load_or_resume()
    assert said == [f"classes kept from {path}: dog, car; starting fresh: tram"]
    weight = former.state_dict()["head.branches.heatmap.3.weight"]
    assert torch.equal(model.state_dict()["head.branches.heatmap.3.weight"][0], weight[3])


def test_packaged_weights_have_their_names_beside_them(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("padre3d.training.transfer.print_log", lambda text, *_: said.append(text))
    former, path = build(OLD).state_dict(), tmp_path / "weights.pth"
    torch.save(former, path)
    (tmp_path / "manifest.json").write_text(json.dumps({"classes": OLD}))
    model = build(NEW, 1)
    runner(model, tmp_path, load_from=str(path)).load_or_resume()
    assert said == [f"classes kept from {path}: dog, car; starting fresh: tram"]
    weight = former["head.branches.heatmap.3.weight"]
    assert torch.equal(model.state_dict()["head.branches.heatmap.3.weight"][0], weight[3])


@pytest.mark.parametrize("bare", [True, False])
def test_unknown_names_are_said(tmp_path, monkeypatch, bare):
    said = []
    monkeypatch.setattr("padre3d.training.transfer.print_log", lambda text, *_: said.append(text))
    state, path = build(OLD).state_dict(), tmp_path / "former.pth"
    torch.save(state if bare else {"state_dict": state, "meta": {}}, path)
    runner(build(OLD[::-1], 1), tmp_path, load_from=str(path)).load_or_resume()
    (line,) = said
    assert line.startswith(f"{path}: names of its classes unknown, so their weights are taken by")
    assert line.endswith("as those of dog, pedestrian, truck, car")


def test_a_frozen_part_keeps_weights_and_statistics():
    model = build(frozen=("pillar_encoder", "backbone")).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    data = batch([cloud(900, 1)])
    for sample in data["data_samples"]:
        sample.gt_instances_3d.labels_3d %= len(OLD)
    total(losses(model, data)).backward()
    optimizer.step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert not {k for k in changed if k.startswith(("pillar_encoder.", "backbone."))}
    assert any(k.startswith("bev_backbone.") and k.endswith("running_mean") for k in changed)
    with pytest.raises(ValueError, match=r"expected frozen parts of .*'backbone'.* got 'neck'"):
        build(frozen=("neck",))


def test_averaged_weights_are_trained_resumed_tested_and_exported(tmp_path, capsys):
    ema = dict(type="EMAHook", momentum=0.5)
    online = build(NUSCENES_CLASSES)
    runner(online, tmp_path, [ema]).train()
    path = tmp_path / "epoch_2.pth"
    saved = torch.load(path, weights_only=False)
    averaged, stepped = saved["state_dict"], saved["ema_state_dict"]
    key = "head.shared_conv.weight"
    assert not torch.equal(averaged[key], online.state_dict()[key])
    torch.testing.assert_close(stepped[f"module.{key}"], online.state_dict()[key])
    # test.py, infer.py and export.py load with this, and say so.
    loaded = build(NUSCENES_CLASSES, 1)
    load_weights(loaded, path)
    assert f"checkpoint {path}: averaged weights (EMA)" in capsys.readouterr().err
    torch.testing.assert_close(dict(loaded.state_dict()), dict(averaged))
    # The hook of the config swaps with a copy of what was loaded.
    hook = EMAHook(momentum=0.5)
    hook.before_run(SimpleNamespace(model=loaded))
    hook.before_test_epoch(None)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(averaged))
    # A resumed training goes on from the weights of the optimizer, and keeps averaging.
    again = build(NUSCENES_CLASSES, 2)
    resumed = runner(again, tmp_path, [ema], load_from=str(path), resume=True)
    resumed.call_hook("before_run")
    resumed.load_or_resume()
    torch.testing.assert_close(dict(again.state_dict()), dict(online.state_dict()))
    (average,) = (h.ema_model.module for h in resumed.hooks if isinstance(h, EMAHook))
    torch.testing.assert_close(dict(average.state_dict()), dict(averaged))


def test_resuming_from_nothing_keeps_the_weights_to_start_from(tmp_path, capsys):
    import train

    cfg = Config(dict(work_dir=str(tmp_path), load_from="former.pth"))
    train.set_resume(cfg, "auto")
    assert (cfg.load_from, cfg.resume) == ("former.pth", False)
    said = capsys.readouterr().out
    assert f"no intact checkpoint in {tmp_path}, starting from former.pth" in said
    cfg = Config(dict(work_dir=str(tmp_path), load_from=None))
    train.set_resume(cfg, "auto")
    assert (cfg.load_from, cfg.resume) == (None, False)
    assert "starting anew" in capsys.readouterr().out
