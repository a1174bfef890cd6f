"""Training of the probe: the same at one seed, the same after a kill, the same data for all."""

import json
import math
from dataclasses import replace

import pytest
import torch

pytest.importorskip("mmdet3d")

from probe_frames import settings, small_frames

from padre3d.probe import training as training_module
from padre3d.probe.evaluate import backbone_costs, validate
from padre3d.probe.training import CHECKPOINT, Training

ATTENTION = dict(type="set_attention", num_heads=4)
METRICS = ("mean_iou", "centre_m", "heading_rad", "size_log", "velocity_mps")


@pytest.fixture(scope="module")
def frames():
    return small_frames()


class Killed(Exception):
    pass


def changed_settings(ema_decay=0.0, **changes):
    return replace(settings(**changes), ema_decay=ema_decay)


def train(frames, folder=None, fingerprint="a", kill_at=None, **changes):
    training = Training(changed_settings(**changes), frames, fingerprint)

    def progress(state):
        if state.step == kill_at:
            raise Killed

    if folder is not None:
        training.load(folder / CHECKPOINT)
    training.run(folder, progress)
    return training


def same_weights(a, b):
    pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_learns(frames):
    training = train(frames, steps=100)
    first, last = training.losses[:5], training.losses[-5:]
    assert sum(last) < 0.6 * sum(first)
    trained, untrained = (
        validate(t, frames, replicates=20) for t in (training, Training(settings(), frames))
    )
    assert trained["centre_m"] < 0.95 * untrained["centre_m"]
    assert trained["car_iou"] > untrained["car_iou"]
    assert trained["absent_classes"] == ["cone"]


def test_same_seed_same_result_and_other_seed_another(frames):
    a, b, other = train(frames), train(frames), train(frames, seed=1)
    assert a.losses == b.losses
    assert same_weights(a, b)
    assert a.losses != other.losses


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_killed_run_ends_as_if_it_was_not(frames, tmp_path, monkeypatch, ema_decay):
    monkeypatch.setattr(training_module, "CHECKPOINT_EVERY", 2)
    options = dict(dropout=0.1, ema_decay=ema_decay)
    whole = train(frames, **options)
    with pytest.raises(Killed):
        train(frames, tmp_path, kill_at=3, **options)
    torch.manual_seed(99)
    resumed = Training(changed_settings(**options), frames, "a")
    assert resumed.load(tmp_path / CHECKPOINT)
    assert resumed.step == 2
    resumed.run(tmp_path)
    assert resumed.losses == whole.losses
    assert same_weights(resumed, whole)
    # As text, in which NaN equals NaN.
    results = [json.dumps(validate(t, frames, replicates=20)) for t in (resumed, whole)]
    assert results[0] == results[1]


def test_the_average_of_the_weights_is_validated(frames):
    """With a decay of 0.5 the last weights count half, those of the step before a quarter."""
    training = Training(changed_settings(ema_decay=0.5, steps=3), frames)
    weights = []
    training.run(progress=lambda t: weights.append(t.model.head.weight.detach().clone()))
    # The first step's weights start the average.
    expected = weights[0] / 4 + weights[1] / 4 + weights[2] / 2
    torch.testing.assert_close(training.validated.head.weight, expected)
    assert not training.validated.training


def test_checkpoint_of_other_settings_or_a_torn_one_is_not_continued(frames, tmp_path):
    train(frames, tmp_path, steps=2)
    path = tmp_path / CHECKPOINT
    assert Training(settings(steps=2), frames, "a").load(path)
    assert not Training(settings(steps=2), frames, "b").load(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert not Training(settings(steps=2), frames, "a").load(path)
    assert not Training(settings(steps=2), frames, "a").load(tmp_path / "none.pt")


def test_data_encoder_and_head_do_not_depend_on_the_mixer(frames):
    padre, attention = (
        Training(settings(), frames),
        Training(settings(mixer=ATTENTION), frames),
    )
    assert padre.schedule.steps == attention.schedule.steps
    assert torch.equal(padre.model.head.weight, attention.model.head.weight)
    first, second = (list(t.model.pillar_encoder.parameters()) for t in (padre, attention))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_nonfinite_step_is_counted_and_changes_no_weight(frames):
    broken = [frame._replace(boxes=frame.boxes.copy()) for frame in frames]
    for frame in broken:
        frame.boxes[0, 5] = math.inf
    training = Training(settings(steps=3), broken)
    before = [p.clone() for p in training.model.parameters()]
    training.run()
    assert training.nonfinite_steps == training.nonfinite_losses == 3
    assert all(torch.equal(x, y) for x, y in zip(before, training.model.parameters(), strict=True))
    assert math.isnan(training.train_loss)


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision(frames, amp):
    training, exact = train(frames, steps=8, amp=amp), train(frames, steps=8)
    assert training.nonfinite_steps < 8
    assert training.losses[0] == pytest.approx(exact.losses[0], rel=0.05)
    assert training.losses[0] != exact.losses[0]
    assert all(p.dtype == torch.float32 for p in training.model.parameters())
    assert validate(training, frames, replicates=20)["frames"] == len(frames)


def test_costs(frames):
    training = Training(settings(), frames)
    costs = backbone_costs(training, frames)
    mixers = [layer.mixer for block in training.model.backbone.blocks for layer in block.layers]
    assert costs["mixer_parameters"] == sum(p.numel() for m in mixers for p in m.parameters())
    assert costs["parameters"] == sum(p.numel() for p in training.model.backbone.parameters())
    pillars = [len(training.model([torch.from_numpy(frame.points)])[1]) for frame in frames]
    assert len(set(pillars)) > 1
    # Two PADRe-2 of D = 16, k = 3: N (3 D^2 + k D) each, the mean over the frames.
    each = [2 * n * (3 * 16**2 + 3 * 16) for n in pillars]
    assert costs["mixer_macs"] == round(sum(each) / len(each))
    assert backbone_costs(training, frames, limit=1)["mixer_macs"] == each[0]
    assert costs["macs"] > costs["mixer_macs"]
