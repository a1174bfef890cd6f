"""The fine-tuning's config: a shorter schedule of the same shape, at another rate."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import StepLR
from mmengine.registry import PARAM_SCHEDULERS

from padre3d.distill.finetune import finetune_config

LENGTH, RATE, PLANNED, EPOCHS = 100, 1.0, 20, 2
CONVERTED = dict(convert_to_iter_based=True)
COSINE = dict(type="CosineAnnealingLR", begin=0, end=20, T_max=20, eta_min=0.1)


def config(*schedulers, **more):
    optimizer = dict(type="SGD", lr=RATE, momentum=0.9)
    return Config(
        dict(
            model=dict(type="PADReDetector"),
            optim_wrapper=dict(type="OptimWrapper", optimizer=optimizer),
            param_scheduler=list(schedulers),
            train_cfg=dict(max_epochs=PLANNED),
            **more,
        )
    )


def shortened(cfg, epochs, rate=0.25):
    return finetune_config(cfg, {}, Path("a.pth"), Path("b.pth"), epochs, rate, 0)


def values(cfg, epochs, name="lr"):
    """A value of the optimizer's at every iteration, as mmengine's runner steps it."""
    given = cfg.optim_wrapper.optimizer
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=given.lr, momentum=given.momentum)
    built = []
    for step in cfg.param_scheduler:
        step.setdefault("end", epochs if step.get("by_epoch", True) else epochs * LENGTH)
        default = dict(optimizer=optimizer, epoch_length=LENGTH)
        built.append(PARAM_SCHEDULERS.build(step, default_args=default))
    seen = []
    for number in range(epochs * LENGTH):
        seen.append(optimizer.param_groups[0][name])
        for scheduler in built:
            if not scheduler.by_epoch or (number + 1) % LENGTH == 0:
                scheduler.step()
    return torch.tensor(seen)


@pytest.mark.parametrize(
    "schedulers",
    [
        [dict(type="MultiStepLR", milestones=[8, 16], gamma=0.1)],
        [dict(type="MultiStepLR", milestones=[800, 1600], gamma=0.1, by_epoch=False)],
        [dict(type="StepLR", step_size=5, gamma=0.5)],
        [dict(type=StepLR, step_size=5, gamma=0.5)],
        [dict(type="StepLR", step_size=500, gamma=0.5, end=2000, by_epoch=False)],
        [dict(type="OneCycleLR", eta_max=2.0, total_steps=20, **CONVERTED)],
        [dict(type="OneCycleLR", eta_max=2.0, total_steps=2000, by_epoch=False)],
        [dict(COSINE, **CONVERTED)],
        [dict(COSINE, begin=500, end=2000, T_max=1500, by_epoch=False)],
        [dict(type="PolyLR", eta_min=0.05, power=2.0, **CONVERTED)],
        [dict(type="LinearLR", start_factor=0.1, end=4, **CONVERTED)],
        [
            dict(type="LinearLR", start_factor=0.1, end=400, by_epoch=False),
            dict(type="CosineAnnealingLR", begin=4, eta_min_ratio=0.01, **CONVERTED),
        ],
    ],
    ids=lambda found: " ".join(f"{s['type']} {s.get('by_epoch', True)}" for s in found),
)
def test_the_rate_has_the_same_shape_in_less_time(schedulers):
    """Every tenth iteration of 20 epochs is one of two epochs, times the factor of the rate."""
    long = values(config(*schedulers), PLANNED)[:: PLANNED // EPOCHS]
    short = values(shortened(config(*schedulers), EPOCHS), EPOCHS)
    assert long.min() < long.max()
    torch.testing.assert_close(short, 0.25 * long, rtol=0.05, atol=0.012)


def test_bounds_of_the_momentum_are_no_rates():
    momentum = dict(type="CosineAnnealingMomentum", eta_min=0.5, **CONVERTED)
    found = values(shortened(config(momentum), 2), 2, name="momentum")
    assert found[0] == pytest.approx(0.9)
    assert found[-1] == pytest.approx(0.5, abs=1e-3)


def test_bounds_of_groups_are_scaled_each():
    cfg = config(dict(type="OneCycleLR", eta_max=[2.0, 4.0]))
    assert shortened(cfg, 2, 0.5).param_scheduler[0].eta_max == [1.0, 2.0]


def test_one_scheduler_without_a_list():
    cfg = config()
    cfg.param_scheduler = dict(type="LinearLR", begin=0, end=10)
    assert shortened(cfg, 2).param_scheduler[0].end == 1


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (dict(type="CosineRestartLR", periods=[10, 10]), "expected one of .* got CosineRestartLR"),
        (dict(type="ExponentialLR", gamma=0.9), "expected one of .* got ExponentialLR"),
        (dict(type="PolyLR", periods=3), r"a PolyLR of known settings, .* got \['periods'\]"),
        (dict(type="StepLR", step_size=9, by_epoch=False), "expected an end of a StepLR by steps"),
        (dict(type="StepLR", step_size=9, gamma=2), r"expected gamma in 0\.\.1, got 2"),
    ],
)
def test_schedules_that_are_not_understood_are_refused(scheduler, message):
    with pytest.raises(ValueError, match=message):
        shortened(config(scheduler), 2)


def test_an_optimizer_without_a_rate_is_refused():
    cfg = config()
    del cfg.optim_wrapper.optimizer["lr"]
    with pytest.raises(ValueError, match=r"a number as optim_wrapper\.optimizer\.lr, got None"):
        shortened(cfg, 2)


@pytest.mark.parametrize(("epochs", "last"), [(2, 0), (4, 1), (10, 2), (20, 4)])
def test_the_epochs_without_sampling_are_shortened(epochs, last):
    cfg = config(custom_hooks=[dict(type="FadeGroundTruthSampling", last_epochs=4)])
    assert shortened(cfg, epochs).custom_hooks[0].last_epochs == last
    assert cfg.custom_hooks[0].last_epochs == 4


def test_sampling_is_on_in_the_first_epoch_of_the_default_fine_tuning(repo_root):
    """A tenth of the epochs, where every epoch was one of the last four."""
    cfg = Config.fromfile(repo_root / "configs/dsvt_padre2_nuscenes.py")
    made = shortened(cfg, round(0.1 * cfg.train_cfg.max_epochs))
    (hook,) = made.custom_hooks
    assert hook.type == "FadeGroundTruthSampling"
    assert hook.last_epochs < made.train_cfg.max_epochs


def test_other_hooks_that_wait_for_an_epoch_wait_less_long():
    hooks = [dict(type="EMAHook", begin_epoch=10), dict(type="Other", priority="LOW")]
    found = shortened(config(custom_hooks=hooks), 2).custom_hooks
    assert [dict(hook) for hook in found] == [dict(hooks[0], begin_epoch=1), hooks[1]]


def test_every_epoch_has_a_checkpoint():
    saving = dict(type="CheckpointHook", interval=500, by_epoch=False, max_keep_ckpts=3)
    made = shortened(config(default_hooks=dict(checkpoint=saving)), 2).default_hooks.checkpoint
    assert (made.by_epoch, made.interval, made.max_keep_ckpts) == (True, 1, 3)
