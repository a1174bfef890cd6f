"""``impl="auto"``: when an encoder layer runs in its fused kernels."""

import logging

import pytest
import torch
from triton_cases import Case, forward

from padre3d.backbone import fused_trial
from padre3d.backbone.encoder import EncoderLayer
from padre3d.mixers import build_mixer
from padre3d.structures.tokens import TokenPositions

pytestmark = pytest.mark.usefixtures("on_kernel_device")


@pytest.fixture(autouse=True)
def seconds(monkeypatch, kernel_device):
    """None made yet; they may run where the kernels do, and the kernels are the faster ones."""
    monkeypatch.setattr(fused_trial, "_known", {})
    monkeypatch.setattr(fused_trial, "DEVICES", (kernel_device.type,))
    monkeypatch.setattr(fused_trial, "RUNS", 1)
    times = iter(())

    def of(*seconds):
        nonlocal times
        times = iter(seconds)

    monkeypatch.setattr(fused_trial, "_seconds", lambda *_: next(times))
    of(2.0, 1.0)  # eager, fused
    return of


@pytest.fixture
def case():
    made = Case([12, 5], dim=16)
    made.layer.mixer.impl = "auto"
    return made


def run(case):
    """The output, and whether fused kernels made it (those of a trial's copies aside)."""
    positions = TokenPositions(case.table, case.window_index)
    calls, fused = [], EncoderLayer._fused

    def spied(layer, *arguments):
        calls.extend([True] * (layer is case.layer))
        return fused(layer, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EncoderLayer, "_fused", spied)
        return case.layer(case.x, case.layout, positions), bool(calls)


def expected(case):
    positions = TokenPositions(case.table, case.window_index)
    return forward(case.layer, case.x, positions, case.layout, fused=False)


@pytest.mark.parametrize("grad", [True, False])
def test_the_faster_one_runs_and_is_tried_once(case, grad, caplog):
    caplog.set_level(logging.INFO)
    with torch.set_grad_enabled(grad):
        outs = [run(case) for _ in range(2)]
    assert [fused for _, fused in outs] == [True, True]
    torch.testing.assert_close(outs[0][0], expected(case), atol=1e-4, rtol=1e-4)
    assert caplog.text.count("impl='auto': the fused layer (a layer of 17 pillars") == 1


def test_eager_code_where_it_is_faster(case, seconds):
    seconds(1.0, 2.0)
    out, fused = run(case)
    assert not fused
    torch.testing.assert_close(out, expected(case), atol=1e-5, rtol=1e-5)


def test_a_trial_leaves_nothing_behind(case):
    before, hooked = torch.get_rng_state(), []
    case.layer.register_forward_hook(lambda *_: hooked.append(1))
    run(case)
    assert len(hooked) == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in case.layer.parameters())
    assert case.x.grad is None


def test_wrong_values_are_not_taken_and_reported(case, monkeypatch, caplog):
    from padre3d.ops.padre import triton

    right = triton.encoder_layer
    monkeypatch.setattr(triton, "encoder_layer", lambda *a: right(*a) * 1.1)
    _, fused = run(case)
    assert not fused
    assert "differs from it by" in caplog.text


def test_kernels_that_fail_are_not_taken_and_reported(case, monkeypatch, caplog):
    from padre3d.ops.padre import triton

    def fail(*_):
        raise RuntimeError("no such processor")

    monkeypatch.setattr(triton, "encoder_layer", fail)
    assert run(case)[1] is False
    assert "no such processor" in caplog.text


def relu(case):
    case.layer.activation = torch.nn.ReLU()


def dropout(case):
    case.layer.dropout = 0.1


def watched(case):
    case.layer.norm1.register_forward_hook(lambda *_: None)


def compiling(case, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


def elsewhere(case, monkeypatch):
    monkeypatch.setattr(fused_trial, "DEVICES", ("xpu",))


@pytest.mark.parametrize("why", [relu, dropout, watched, compiling, elsewhere])
def test_no_trial_where_the_kernels_would_not_do(case, why, monkeypatch):
    why(case, *(() if why in (relu, dropout, watched) else (monkeypatch,)))
    assert run(case)[1] is False
    assert not fused_trial._known


def test_another_structure_stays_eager_without_a_warning(caplog):
    caplog.set_level(logging.INFO)
    case = Case([9], dim=16)
    case.layer.mixer = build_mixer(
        {"type": "padre", "preset": "paper", "kernel_size": 3, "impl": "auto"}, 16
    )
    assert run(case)[1] is False
    assert "expected the structure preset='sequence'" in caplog.text
    assert not [r for r in caplog.records if r.levelno > logging.INFO]


def test_in_inference_mode(case):
    with torch.inference_mode():
        assert run(case)[1] is True


def test_types_have_trials_of_their_own(case, seconds):
    run(case)
    seconds(2.0, 1.0)
    case.layer.to(torch.bfloat16)
    case.x, case.table = case.x.bfloat16(), case.table.bfloat16()
    assert run(case)[1] is True
    assert len(fused_trial._known) == 2


def test_the_operator_alone_is_eager(case):
    tokens = case.x[None]
    auto = case.layer.mixer(tokens)
    case.layer.mixer.impl = "eager"
    assert torch.equal(auto, case.layer.mixer(tokens))
