"""The whole detector: independent samples, mmengine's switches, boxes in mmdet3d's format."""

import copy

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import amp, turn_on_activation_checkpointing
from same_outputs import assert_same_outputs, sample_of
from small_detector import BOXES, MIXERS, MODEL, batch, build, cloud, losses, sample, total
from torch import nn
from torch.nn.utils import parameters_to_vector

from padre3d.detector import to_gravity_boxes, to_instances
from padre3d.ops import chunked
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES

GRID = dict(range_m=(-5.4, -5.4, -5.0, 5.4, 5.4, 3.0), cell_m=(0.6, 0.6))
BATCH_NORM = nn.modules.batchnorm._BatchNorm
every_mixer = pytest.mark.parametrize("name", MIXERS)


@pytest.mark.parametrize("form", ["plain", "in one chunk", "in chunks of 16 rows"])
@every_mixer
def test_a_sample_is_the_same_alone_and_in_any_batch(monkeypatch, name, form, device):
    model = build(**MIXERS[name]).requires_grad_(False).to(device)
    if form == "in chunks of 16 rows":
        monkeypatch.setattr(chunked, "CHUNK_BYTES", 16 * 16 * 4)
    clouds = [cloud(n, i).to(device) for i, n in enumerate([900, 0, 300, 1, 1500, 0])]
    with torch.set_grad_enabled(form == "plain"):
        alone = [model.forward_points([points]) for points in clouds]
        orders = ([0, 1, 2, 3, 4, 5], [5, 4, 2], [3, 0], [4, 4, 1, 0])
        batches = [(order, model.forward_points([clouds[i] for i in order])) for order in orders]
    for order, together in batches:
        for row, i in enumerate(order):
            # An empty cloud's heatmap is flat: any number of its proposals may be ties.
            least = None if len(clouds[i]) else 0
            assert_same_outputs(sample_of(together, row), alone[i], model.head, least=least)
    # The clouds do differ.
    assert (alone[0].dense_heatmap - alone[4].dense_heatmap).abs().max() > 1e-2


@every_mixer
def test_checkpointing_changes_no_gradient(name, device):
    plain = build(**MIXERS[name]).to(device)
    cheap = copy.deepcopy(plain)
    calls = []
    for block in cheap.backbone.blocks:
        block.layers[0].register_forward_hook(lambda *_: calls.append(1))
    blocks = [f"backbone.blocks.{i}" for i in range(len(cheap.backbone.blocks))]
    turn_on_activation_checkpointing(cheap, blocks)
    data = batch([cloud(900, 1), cloud(0, 2), cloud(700, 3)])
    # The dense heatmap alone: the other losses depend on which proposals are taken and matched.
    gradients = []
    for model in (plain.train(), cheap.train()):
        losses(model, data)["loss_heatmap"].backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    expected, got = gradients
    assert len(calls) == 2 * len(blocks), "the blocks were not computed again"
    assert (
        got.keys() == expected.keys() >= {n for n, _ in plain.backbone.named_parameters("backbone")}
    )
    # Of a bias in front of a batch norm the gradient is 0 but for rounding.
    rounding = 1e-6 * max(float(gradient.abs().max()) for gradient in expected.values())
    for key, gradient in expected.items():
        difference = float((got[key] - gradient).abs().max())
        assert difference <= 1e-3 * float(gradient.abs().max()) + rounding, key
    for key, value in plain.named_buffers():
        torch.testing.assert_close(cheap.get_buffer(key), value, msg=key)


@pytest.mark.parametrize("device_type", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@every_mixer
def test_mixed_precision_trains_like_single_precision(monkeypatch, name, dtype, device_type):
    if device_type == "cpu":
        # mmengine builds the wrapper beside a GPU only, and refuses float16 without one.
        monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
        monkeypatch.setattr(amp, "autocast", lambda dtype: torch.autocast("cpu", dtype))
    single = build(**MIXERS[name]).to(device_type).train()
    mixed = copy.deepcopy(single)
    data = batch([cloud(1200, 1), cloud(900, 2)])
    before = parameters_to_vector(single.parameters()).detach()
    logs, moves = [], []
    for model, wrapper, options in (
        (single, OptimWrapper, {}),
        (mixed, AmpOptimWrapper, dict(dtype=dtype)),
    ):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        logs.append(model.train_step(data, wrapper(optimizer=optimizer, **options)))
        moves.append(parameters_to_vector(model.parameters()).detach() - before)
    assert not torch.equal(*moves)
    # Rounding may give a box to another proposal, which the losses of proposals show.
    assert float(logs[1]["loss_heatmap"]) == pytest.approx(float(logs[0]["loss_heatmap"]), rel=5e-3)
    assert float(logs[1]["loss"]) == pytest.approx(float(logs[0]["loss"]), rel=0.05)
    assert torch.cosine_similarity(*moves, dim=0) > 0.95


def test_synchronised_normalisation_replaces_every_layer():
    """Without a process group torch's layer is the plain one, so the losses are the same too."""
    plain = build().train()
    weights = copy.deepcopy(plain.state_dict())
    synchronised = convert_sync_batchnorm(copy.deepcopy(plain), "torch")
    norms = [m for m in plain.modules() if isinstance(m, BATCH_NORM)]
    converted = [m for m in synchronised.modules() if isinstance(m, BATCH_NORM)]
    assert len(converted) == len(norms) > 10
    assert {type(m) for m in converted} == {nn.SyncBatchNorm}
    synchronised.load_state_dict(weights, strict=True)

    data = batch([cloud(1200, 1), cloud(900, 2)])
    expected, got = losses(plain, data), losses(synchronised, data)
    assert float(got["loss_heatmap"]) == pytest.approx(float(expected["loss_heatmap"]), rel=1e-4)
    # Rounding may give a box to another proposal.
    assert float(total(got)) == pytest.approx(float(total(expected)), rel=0.05)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(synchronised.state_dict()[key], value, rtol=1e-4, atol=1e-5)

    plain.load_state_dict(synchronised.state_dict(), strict=True)
    points = [cloud(800, 3)]
    with torch.no_grad():
        expected = plain.eval().forward_points(points)
        for model in (synchronised.eval(), revert_sync_batchnorm(synchronised).eval()):
            got = model.forward_points(points)
            assert_same_outputs(got, expected, model.head, rounding=1e-4)


def test_submanifold_descriptor_trains():
    pytest.importorskip("spconv", reason="spconv is not installed")
    described = build(local_descriptor="submconv").train()
    data = batch([cloud(900, 1), cloud(0, 2), cloud(700, 3)])
    kernel = described.backbone.local_descriptor.conv.weight
    before = kernel.detach().clone()
    optimizer = OptimWrapper(torch.optim.SGD(described.parameters(), lr=0.1))
    first = described.train_step(data, optimizer)
    assert 0 < first["loss"] < 1e3
    assert not torch.equal(kernel, before)


def test_repeated_steps_lower_the_loss():
    model = build().train()
    data = batch([cloud(1200, 1), cloud(900, 2)])
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=2e-3))
    logs = [float(model.train_step(data, optimizer)["loss"]) for _ in range(25)]
    assert logs[-1] < 0.5 * logs[0]


def test_boxes_cross_to_mmdet3d_and_back():
    truth = sample().gt_instances_3d.bboxes_3d
    torch.testing.assert_close(to_gravity_boxes(truth), BOXES)
    detections = to_instances(Detections(BOXES, torch.tensor([0.9, 0.5, 0.1]), torch.arange(3)))
    torch.testing.assert_close(detections.bboxes_3d.gravity_center, BOXES[:, :3])
    torch.testing.assert_close(detections.bboxes_3d.bottom_height, BOXES[:, 2] - BOXES[:, 5] / 2)
    torch.testing.assert_close(detections.bboxes_3d.tensor[:, 3:], BOXES[:, 3:])
    assert detections.scores_3d.tolist() == pytest.approx([0.9, 0.5, 0.1])
    assert detections.labels_3d.tolist() == [0, 1, 2]


def norms_run(model, clouds):
    """Names of the batch normalisations that a training step runs, in their order."""
    seen, handles = [], []
    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORM):
            handles.append(module.register_forward_hook(lambda *_, name=name: seen.append(name)))
    total(losses(model, batch(clouds))).backward()
    for handle in handles:
        handle.remove()
    return seen


@every_mixer
def test_a_process_without_pillars_runs_every_norm(name):
    """A synchronised one makes the others wait for it."""
    model = build(**MIXERS[name]).train()
    full = norms_run(model, [cloud(500, 1)])
    empty = norms_run(model, [cloud(0)])
    assert len(full) > 20
    assert empty == full
    assert all(torch.isfinite(b).all() for b in model.buffers())


@pytest.mark.parametrize(
    ("part", "setting", "message"),
    [
        ("head", dict(num_classes=3), r"head\.num_classes: expected 10 .* got 3; leave"),
        (
            "head",
            dict(class_names=["dog"] * 10),
            r"head\.class_names: expected \('car'.* got \('dog",
        ),
        ("pillar_encoder", dict(grid=GRID), r"pillar_encoder\.grid: expected PillarGrid.*-10\.8"),
        ("backbone", dict(grid=GRID), r"backbone\.grid: expected PillarGrid.*-10\.8"),
        ("head", dict(grid=GRID), r"head\.grid: expected PillarGrid.*-10\.8"),
    ],
)
def test_settings_of_the_parts_that_contradict_the_detector(part, setting, message):
    cfg = copy.deepcopy(MODEL)
    cfg[part].update(setting)
    default = DefaultScope.overwrite_default_scope("mmdet3d")
    with default, pytest.raises(ValueError, match=message):
        MODELS.build(cfg)


def test_settings_of_the_parts_may_say_the_same():
    cfg = copy.deepcopy(MODEL)
    cfg["backbone"]["grid"] = cfg["grid"]
    cfg["head"].update(num_classes=10, class_names=list(NUSCENES_CLASSES))
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        assert MODELS.build(cfg).head.num_classes == 10
