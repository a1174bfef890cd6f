"""The detector on a GPU that is not there: no operator mixes devices, and the host's waits hold."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("mmdet3d")
import host_waits
import small_detector
from pretended_device import (
    DEVICE,
    KINDS,
    READ,
    SHAPE,
    UPLOAD,
    DeviceMismatchError,
    PretendedDevice,
    PretendedTensor,
    held,
    to_pretended,
)

from padre3d.head import HeadOutputs
from padre3d.inference import detect
from padre3d.mixers import MIXERS, CrossPADRe
from padre3d.sequences import planner

LINEAR = nn.Linear(4, 4)


@pytest.fixture
def pretended():
    with PretendedDevice() as device, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield device


@pytest.fixture
def x(pretended):
    return PretendedTensor(torch.arange(12.0).view(3, 4) - 4)


class Wrong(nn.Module):
    """Adds a tensor that it makes without asking for the device."""

    def forward(self, x, *_):
        return x + torch.zeros(x.shape[-1])


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.ones(gradient.shape)


def test_a_tensor_made_without_a_device_is_refused(x):
    with pytest.raises(DeviceMismatchError, match=r"aten.add.*\(4,\).* on cpu at test_pretended"):
        Wrong()(x)


def test_a_wrong_mixer_is_found_in_the_detector(pretended):
    model = host_waits.move(small_detector.build(), pretended)
    model.backbone.blocks[1].layers[0].mixer.forward = Wrong().forward
    data = small_detector.batch([small_detector.cloud(300, 1)])
    with torch.no_grad(), pytest.raises(DeviceMismatchError, match="aten.add"):
        model.test_step(data)
    with pytest.raises(DeviceMismatchError, match="aten.add"):
        host_waits.train_step(model, data, pretended)


def test_a_mistake_in_a_backward_pass_is_found(x):
    out = WrongBackward.apply(x.requires_grad_())
    with pytest.raises(DeviceMismatchError, match=r"aten.mul.*\(3, 4\)"):
        out.sum().backward()


def test_a_value_read_in_the_detector_is_counted(pretended):
    model = host_waits.move(small_detector.build(), pretended)
    layer = model.backbone.blocks[0].layers[1]
    layer.mixer.register_forward_pre_hook(lambda _, args: args[0].sum().item() and None)
    with torch.no_grad():
        model.test_step(small_detector.batch([small_detector.cloud(300, 1)]))
    assert pretended.counts()["backbone layers", READ] == 1
    (wait,) = [wait for wait in pretended.waits if wait.stage == "backbone layers"]
    assert wait.line.startswith("test_pretended_device.py:")


WAITS = {
    "item": (lambda x: x.sum().item(), READ),
    "float": (lambda x: float(x[0, 0]), READ),
    "if": (lambda x: 1 if x.any() else 0, READ),
    "tolist": (lambda x: x.tolist(), READ),
    "cpu": (lambda x: x.cpu(), READ),
    "to": (lambda x: x.to("cpu", torch.float64), READ),
    "copy from": (lambda x: torch.zeros(3, 4).copy_(x), READ),
    "equal": (lambda x: torch.equal(x, x + 1), READ),
    "allclose": (lambda x: torch.allclose(x, x), READ),
    "nonzero": (lambda x: x.nonzero(), SHAPE),
    "where": (lambda x: torch.where(x > 0), SHAPE),
    "mask": (lambda x: x[x > 0], SHAPE),
    "masked_select": (lambda x: x.masked_select(x > 0), SHAPE),
    "assignment of a tensor by mask": (lambda x: x.__setitem__(x[:, 0] > 3, -x[:1]), SHAPE),
    "unique": (lambda x: x.unique(), SHAPE),
    "repeats": (lambda x: torch.repeat_interleave(x[2].long()), SHAPE),
    "constant": (lambda x: torch.tensor([1.0], device=x.device), UPLOAD),
    "as_tensor": (lambda x: torch.as_tensor([1.0], device=x.device), UPLOAD),
    "new_tensor": (lambda x: x.new_tensor([1.0]), UPLOAD),
    "to device": (lambda x: torch.zeros(3).to(x), UPLOAD),
    "cuda": (lambda x: torch.zeros(3).cuda(), UPLOAD),
    "copy to": (lambda x: x.copy_(torch.zeros(4)), UPLOAD),
    "list index": (lambda x: x[[0, 2]], UPLOAD),
    "CPU index": (lambda x: x[torch.tensor([0, 2])], UPLOAD),
    "assignment of a number": (lambda x: x.__setitem__(x[0].long().clamp_min(0), 1.0), UPLOAD),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_counted(pretended, x, name):
    run, kind = WAITS[name]
    with pretended.stage("here"):
        run(x)
    assert pretended.counts() == {("here", kind): 1}


FREE = {
    "arithmetic": lambda x: (x * 2 + 1).softmax(-1) @ x.t(),
    "CPU number": lambda x: x * torch.tensor(2.0),
    "factory": lambda x: torch.full((3, 4), 2.0, device=x.device) + x.new_zeros(4),
    "arange": lambda x: torch.arange(4, device=x.device) + x,
    "masked assignment of a number": lambda x: x.__setitem__(x > 0, 1.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, 1.0),
    "index_fill": lambda x: x.index_fill_(0, x[0, 3:].long().abs(), 1.0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "index": lambda x: x[x[2].long() - 5],
    "topk": lambda x: x.flatten().topk(3),
    "told size": lambda x: torch.repeat_interleave(x[2].long(), output_size=22),
    "copy that does not block": lambda x: torch.zeros(3).to(x.device, non_blocking=True),
    "shape": lambda x: x.new_ones(len(x), x.shape[1]).numel(),
}


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_wait_is_not_counted(pretended, x, name):
    FREE[name](x)
    assert pretended.waits == []


REFUSED = {
    "element-wise": lambda x: x + torch.ones(4),
    "product": lambda x: x @ torch.ones(4, 2),
    "layer": lambda x: LINEAR(x),
    "concatenation": lambda x: torch.cat([x, torch.ones(1, 4)]),
    "stack of numbers": lambda x: torch.stack([x[0, 0], torch.tensor(1.0)]),
    "CPU tensor, number of the device": lambda x: torch.ones(3) * x[0, 0],
    "CPU number in place": lambda x: torch.tensor(1.0).add_(x[0, 0]),
    "index of a CPU tensor": lambda x: torch.ones(9)[x[2].long()],
    "gather": lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.long)),
    "index_select": lambda x: x.index_select(0, torch.tensor([1])),
    "embedding": lambda x: F.embedding(x[2].long(), torch.ones(9, 2)),
    "assignment": lambda x: x.__setitem__(x[2].long() - 6, torch.ones(1, 4)),
    "numpy": lambda x: x.numpy(),
    "asarray": lambda x: __import__("numpy").asarray(x),
    "generator": lambda x: torch.randperm(4, generator=torch.Generator(), device=x.device),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses_is_refused(x, name):
    with pytest.raises(DeviceMismatchError):
        REFUSED[name](x)


def test_autocast_is_that_of_cuda(x):
    """Unlike a CPU's, it computes powers in single precision."""
    layer = to_pretended(nn.Linear(4, 4))
    with torch.autocast(x.device.type, torch.float16):
        half = layer(x)
        assert (half.dtype, (half**2).dtype) == (torch.float16, torch.float32)
    with torch.autocast("cpu", torch.float16):
        assert layer(x).dtype == torch.float32


def clouds(*sizes):
    return [small_detector.cloud(size, seed) for seed, size in enumerate(sizes)]


def losses_of_a_step(model, data, pretended, dtype=None):
    """Losses of a training step after which every parameter has moved or stayed finite."""
    before = {name: held(p).clone() for name, p in model.named_parameters()}
    log = {
        name: held(value)
        for name, value in host_waits.train_step(model, data, pretended, dtype).items()
    }
    moved = [not torch.equal(held(p), before[name]) for name, p in model.named_parameters()]
    assert all(held(p).isfinite().all() for p in model.parameters())
    assert sum(moved) > 0.8 * len(moved)
    return log


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_every_mixer_detects_and_trains(pretended, name):
    model = small_detector.build(mixer=small_detector.mixer_config(name))
    data = small_detector.batch(clouds(300, 0, 200))
    expected = small_detector.losses(copy.deepcopy(model).train(), data)
    host_waits.move(model, pretended)
    with torch.no_grad():
        results = model.test_step(data)
    assert [s.pred_instances_3d.scores_3d.device for s in results] == [DEVICE] * 3
    for sample in results:
        small_detector.assert_sane(sample.pred_instances_3d.to("cpu"), model)
    log = losses_of_a_step(model, data, pretended)
    torch.testing.assert_close(
        log["loss_heatmap"], expected["loss_heatmap"].detach(), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_every_mixer_trains_in_mixed_precision(pretended, name):
    model = small_detector.build(mixer=small_detector.mixer_config(name))
    host_waits.move(model, pretended)
    products = set()
    model.backbone.blocks[0].layers[0].linear2.register_forward_hook(
        lambda _, __, out: products.add(out.dtype)
    )
    log = losses_of_a_step(model, small_detector.batch(clouds(300, 200)), pretended, "float16")
    assert products == {torch.float16}
    assert all(value.isfinite() and value.dtype == torch.float32 for value in log.values())


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_the_published_model_and_its_repeated_flaws(pretended, dtype):
    head = dict(dsvt_compat=True)
    mixer = small_detector.mixer_config("set_attention")
    model = small_detector.build(mixer=mixer, dsvt_compat=True, head=head)
    host_waits.move(model, pretended)
    data = small_detector.batch(clouds(300, 200))
    with torch.no_grad():
        model.test_step(data)
    losses_of_a_step(model, data, pretended, dtype)


def test_no_point_at_all(pretended):
    model = host_waits.move(small_detector.build(), pretended)
    data = small_detector.batch(clouds(0, 0))
    with torch.no_grad():
        results = model.test_step(data)
    assert [len(sample.pred_instances_3d) for sample in results] == [0, 0]
    assert all(
        value.isfinite() for value in held(host_waits.train_step(model, data, pretended)).values()
    )


def test_detect_hands_over_a_cloud_and_brings_boxes_back(pretended):
    model = host_waits.move(small_detector.build(), pretended)
    boxes = detect(model, clouds(400)[0].numpy())
    assert len(boxes.scores) > 0
    assert (boxes.scores[:-1] >= boxes.scores[1:]).all()


def test_inputs_of_several_kinds(pretended):
    """Cross-PADRe, which is no mixer of one input."""
    torch.manual_seed(0)
    module, inputs = CrossPADRe(8, ("aab",), 3), (torch.randn(2, 5, 8), torch.randn(2, 7, 8))
    masks = (torch.arange(5) < torch.tensor([[5], [3]]), torch.arange(7) < torch.tensor([[6], [7]]))
    expected = module(inputs, masks)
    out = to_pretended(module)(*([PretendedTensor(t) for t in ts] for ts in (inputs, masks)))
    torch.testing.assert_close(held(out), expected)


def test_decoding_gives_the_cpus_boxes(pretended):
    """Every filter at work: scores, range, rescoring, suppression within two classes."""
    model = small_detector.build()
    host_waits.find_every_class(model.head)
    with torch.no_grad():
        outputs = model.forward_points(clouds(500, 300))
        outputs = outputs._replace(center=outputs.center * 0.2, dim=outputs.dim + 1)
        expected = model.head.predict(outputs, score_thr=0.1)
        detections = model.head.predict(HeadOutputs(*map(PretendedTensor, outputs)), score_thr=0.1)
    proposals = model.head.selector.num_proposals
    for cpu, ours in zip(expected, detections, strict=True):
        assert 0 < len(cpu.boxes) < proposals
        for of_cpu, of_device in zip(cpu, ours, strict=True):
            torch.testing.assert_close(held(of_device), of_cpu)


def test_every_layout_is_counted():
    assert set(host_waits.LAYOUTS) == set(planner.LAYOUTS)


def documented(repo_root):
    """Counts of docs/performance.md by (layout, step, stage, kind)."""
    text = (repo_root / "docs/performance.md").read_text()
    lines = text.split("<!-- host waits -->")[1].split("<!-- end host waits -->")[0].split("\n")
    heads, _, *rows = [[c.strip() for c in line.strip("| ").split("|")] for line in lines if line]
    return {
        (*column.split(": "), row[0], kind): int(count)
        for row in rows
        for column, cell in zip(heads[1:], row[1:], strict=True)
        for kind, count in zip(KINDS, (cell + " + 0 + 0").split(" + "), strict=False)
    }


@pytest.mark.parametrize("step", host_waits.STEPS)
@pytest.mark.parametrize("layout", host_waits.LAYOUTS)
def test_no_stage_waits_more_often_than_documented(repo_root, layout, step):
    limits = documented(repo_root)
    found = host_waits.counts(layout, step)
    assert {stage for stage, _ in found} <= set(host_waits.STAGES)
    over = {
        (stage, kind): (found[stage, kind], limits[layout, step, stage, kind])
        for stage in host_waits.STAGES
        for kind in KINDS
        if found[stage, kind] > limits[layout, step, stage, kind]
    }
    assert over == {}, "(counted, documented)"
