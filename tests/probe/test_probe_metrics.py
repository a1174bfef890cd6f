"""Metrics and their intervals, against pillars counted by hand and a plain bootstrap."""

import json
import math

import numpy as np
import pytest
import torch

from padre3d.probe.metrics import class_iou, frame_sums, frame_weights, summarize
from padre3d.probe.model import Predictions
from padre3d.probe.targets import PillarTargets

NAMES = ("car", "cone", "bus")


def pillars(truth, guess, length=4.0, **errors):
    """Targets and predictions of N pillars: classes as given, errors for all alike."""
    truth, guess = torch.tensor(truth), torch.tensor(guess)
    n = len(truth)
    logits = torch.nn.functional.one_hot(guess, 4).float()
    foreground = truth < 3
    zeros = torch.zeros(n, 2)
    targets = PillarTargets(
        label=truth,
        offset=zeros,
        heading=torch.tensor([0.0, 1.0]).expand(n, 2),
        log_size=torch.zeros(n, 3),
        velocity=zeros,
        velocity_known=foreground & torch.tensor(errors.get("known", [True] * n)),
        length=torch.where(foreground, torch.as_tensor(length), 0.0),
        box=torch.where(foreground, 0, -1),
    )
    turn = torch.tensor(errors.get("turn", 0.0))
    predicted = Predictions(
        logits=logits,
        offset=torch.tensor(errors.get("offset", (0.0, 0.0))).expand(n, 2),
        heading=2 * torch.stack([turn.sin(), turn.cos()]).expand(n, 2),
        log_size=torch.tensor(errors.get("log_size", (0.0, 0.0, 0.0))).expand(n, 3),
        velocity=torch.tensor(errors.get("velocity", (0.0, 0.0))).expand(n, 2),
    )
    return predicted, targets


def sums(truth, guess, distance=10.0, **kwargs):
    centres = torch.zeros(len(truth), 2)
    centres[:, 1] = torch.as_tensor(distance)
    return frame_sums(*pillars(truth, guess, **kwargs), centres)


def test_iou_by_hand_and_absent_class_left_out():
    # car: TP 2, FN 1, FP 1 -> 2/4; cone: TP 1, FP 1 -> 1/2; bus: predicted once, never there.
    frame = sums([0, 0, 0, 1, 3, 3, 3], [0, 0, 1, 1, 0, 2, 3])
    result = summarize([frame], NAMES, replicates=5)
    assert result["car_iou"] == pytest.approx(50)
    assert result["cone_iou"] == pytest.approx(50)
    assert result["mean_iou"] == pytest.approx(50)
    assert result["absent_classes"] == ["bus"]
    assert "bus" not in result["by_class"]
    assert result["recall"] == pytest.approx(75)
    assert result["foreground_pillars"] == 4


def test_errors_by_hand():
    frame = sums(
        [0, 0, 3],
        [0, 3, 3],
        offset=(3.0, 4.0),
        turn=2 * math.pi - 0.2,
        log_size=(0.1, -0.2, 0.3),
        velocity=(0.0, 2.0),
        known=[True, False, True],
    )
    result = summarize([frame], NAMES, replicates=5)
    assert result["centre_m"] == pytest.approx(5)
    assert result["heading_rad"] == pytest.approx(0.2, abs=1e-5)
    assert result["size_log"] == pytest.approx(0.2)
    assert result["velocity_mps"] == pytest.approx(2)
    # The targets of this file are at rest and in the middle of their pillar.
    assert result["zero_centre_m"] == result["zero_velocity_mps"] == 0
    unknown = sums([0, 3], [0, 3], known=[False, False])
    assert math.isnan(summarize([unknown], NAMES, replicates=5)["velocity_mps"])


def test_errors_of_predicting_nothing():
    predicted, targets = pillars([0, 0, 3], [0, 0, 3], known=[True, False, True])
    offset, velocity = torch.zeros(3, 2), torch.zeros(3, 2)
    offset[0], offset[1] = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0])
    velocity[:2] = torch.tensor([0.0, 7.0])
    targets = targets._replace(offset=offset, velocity=velocity)
    frame = frame_sums(predicted._replace(offset=offset), targets, torch.zeros(3, 2))
    result = summarize([frame], NAMES, replicates=5)
    assert result["centre_m"] == 0
    assert result["zero_centre_m"] == pytest.approx(3)
    # The second pillar's velocity is not known.
    assert result["zero_velocity_mps"] == result["velocity_mps"] == pytest.approx(7)


def test_class_that_a_resampling_lacks_is_left_out():
    # The second frame has no cone, but a car called one: drawn twice, it tells nothing of cones.
    frames = [sums([0, 1, 3], [0, 1, 3]), sums([0, 0, 3], [0, 1, 3])]
    total = frames[1].confusion.sum(0)[None]
    assert np.isnan(class_iou(total)[0, 1])
    low, _ = summarize(frames, NAMES, replicates=200)["intervals"]["mean_iou"]
    assert low == pytest.approx(50)


def test_groups():
    frame = sums(
        [0, 0, 1, 2, 3],
        [0, 3, 1, 2, 0],
        distance=[19.9, 20.0, 39.9, 40.0, 50.0],
        length=torch.tensor([1.9, 2.0, 5.9, 6.0, 0.0]),
    )
    result = summarize([frame], NAMES, replicates=5)
    by_distance = result["by_distance"]
    assert [by_distance[b]["recall"] for b in ("0-20m", "20-40m", "over_40m")] == [100, 50, 100]
    # 20-40 m: car 0 of 1, cone 1 of 1. Beyond: bus 1 of 1; there is no car for the background
    # pillar called one to spoil.
    assert by_distance["20-40m"]["mean_iou"] == pytest.approx(50)
    assert by_distance["over_40m"]["mean_iou"] == pytest.approx(100)
    by_length = result["by_length"]
    assert [by_length[b]["recall"] for b in ("under_2m", "2-6m", "over_6m")] == [100, 50, 100]
    assert "mean_iou" not in by_length["2-6m"]
    assert result["by_class"]["car"]["recall"] == 50


def random_frames(count=12, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        truth = rng.choice(4, 60, p=[0.3, 0.1, 0.1, 0.5])
        wrong = rng.random(60) < rng.uniform(0.1, 0.6)
        guess = np.where(wrong, rng.integers(0, 4, 60), truth)
        offset = tuple(rng.uniform(0, 2, 2).tolist())
        frames.append(sums(truth.tolist(), guess.tolist(), offset=offset))
    return frames


def test_bootstrap_sums_confusions_of_resampled_frames():
    frames = random_frames()
    result = summarize(frames, NAMES, replicates=400, seed=3)
    drawn = []
    for weights in frame_weights(len(frames), 400, 3)[1:].astype(int):
        chosen = [frame for frame, w in zip(frames, weights, strict=True) for _ in range(w)]
        assert len(chosen) == len(frames)
        total = np.sum([f.confusion.sum(0) for f in chosen], axis=0)[None]
        drawn.append(np.nanmean(class_iou(total)[0]))
    expected = np.percentile(drawn, [2.5, 97.5])
    assert result["intervals"]["mean_iou"] == pytest.approx(expected.tolist())
    low, high = result["intervals"]["mean_iou"]
    assert low < result["mean_iou"] < high
    low, high = result["by_class"]["car"]["centre_m_95"]
    assert low < result["by_class"]["car"]["centre_m"] < high


def test_intervals_are_seeded_and_narrow_with_more_frames():
    frames = random_frames(40)
    a, b = (summarize(frames, NAMES, 200, seed=1) for _ in range(2))
    assert json.dumps(a) == json.dumps(b)
    assert a["intervals"] != summarize(frames, NAMES, 200, seed=2)["intervals"]
    few = summarize(frames[:6], NAMES, 200)["intervals"]["mean_iou"]
    many = summarize(frames, NAMES, 200)["intervals"]["mean_iou"]
    assert many[1] - many[0] < few[1] - few[0]


def test_equal_frames_have_no_spread():
    frame = sums([0, 1, 3], [0, 3, 3])
    low, high = summarize([frame] * 5, NAMES, 50)["intervals"]["mean_iou"]
    assert low == high == pytest.approx(50)
