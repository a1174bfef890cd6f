"""Losses and matching against hand-computed values."""

import math

import pytest
import torch
import torch.nn.functional as F

from padre3d.head.settings import DecodeSettings, LossSettings, TargetSettings
from padre3d.head.training.assign import match, matching_costs
from padre3d.head.training.losses import (
    box_l1_loss,
    gaussian_focal_loss,
    iou_l1_loss,
    sigmoid_focal_loss,
)
from padre3d.structures.grid import PillarGrid

GRID = PillarGrid((-10.0, -5.0, -3, 10.0, 5.0, 1), (1.0, 1.0))


def test_gaussian_focal_loss_by_hand():
    logits = torch.zeros(1, 1, 1, 3)
    target = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 1, 3)
    # At p = 0.5: log 2 * 0.25 each, the second weighted by (1 - 0.5)^4; one positive cell.
    expected = math.log(2) * 0.25 * (1 + 0.5**4 + 1)
    assert gaussian_focal_loss(logits, target).item() == pytest.approx(expected, rel=1e-6)
    twice = torch.cat((logits, logits)), torch.cat((target, target))
    assert gaussian_focal_loss(*twice).item() == pytest.approx(expected, rel=1e-6)
    # Without a positive cell the sum stays; probabilities are clamped.
    certain = gaussian_focal_loss(torch.full((1, 1, 1, 1), 100.0), torch.zeros(1, 1, 1, 1))
    assert certain.item() == pytest.approx(-math.log(1e-4) * 0.9999**2, rel=1e-3)


def test_sigmoid_focal_loss_is_cross_entropy_at_gamma_zero():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 3), torch.tensor([[0, 1, 2, 3, 3], [3, 0, 0, 1, 2]])
    target = F.one_hot(labels, 4)[..., :3].float()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    half = sigmoid_focal_loss(logits, labels, alpha=0.5, gamma=0.0)
    torch.testing.assert_close(half, entropy / 2)


def test_sigmoid_focal_loss_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])  # probabilities 0.75 and 0.5
    actual = sigmoid_focal_loss(logits, torch.tensor([0]), alpha=0.25, gamma=2.0)
    expected = 0.25 * 0.25**2 * -math.log(0.75) + 0.75 * 0.5**2 * math.log(2)
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_box_and_iou_losses_count_what_they_should():
    codes, target = torch.zeros(1, 2, 10), torch.ones(1, 2, 10)
    weights = torch.zeros(1, 2, 10)
    weights[0, 1, :3] = torch.tensor([1.0, 0.2, 0.5])
    assert box_l1_loss(codes, target, weights).item() == pytest.approx(1.7)
    predicted, iou = torch.tensor([[0.5, -0.3, 9.0]]), torch.tensor([[0.6, 0.1, 0.0]])
    # |0.5 - 0.2| and |-0.3 + 0.8|; the third has no overlap.
    assert iou_l1_loss(predicted, iou).item() == pytest.approx(0.4)
    assert iou_l1_loss(predicted, torch.zeros(1, 3)).item() == 0


def test_costs_by_hand():
    box = torch.tensor([[1.0, 1.0, 0.0, 4.0, 2.0, 2.0, 0.0, 0, 0]])
    gt = torch.tensor(
        [[1.0, 1.0, 1.0, 4.0, 2.0, 2.0, 0.0, 0, 0], [-3.0, 2.0, 0.0, 4.0, 2.0, 2.0, 0.0, 0, 0]]
    )
    settings = TargetSettings(cls_cost=2.0, reg_cost=3.0, iou_cost=5.0)
    logits = torch.tensor([[0.0, math.log(3.0)]])
    costs = matching_costs(box, logits, gt, torch.tensor([1, 0]), GRID, settings)
    of_one = 0.25 * 0.25**2 * -math.log(0.75) - 0.75 * 0.75**2 * -math.log(0.25)
    of_zero = (0.25 - 0.75) * 0.25 * math.log(2)
    torch.testing.assert_close(costs.classification, torch.tensor([[of_one, of_zero]]) * 2)
    torch.testing.assert_close(costs.centre, torch.tensor([[0.0, 4 / 20 + 1 / 10]]) * 3)
    torch.testing.assert_close(costs.iou, torch.tensor([[1 / 3, 0.0]]))
    expected = costs.classification + costs.centre - 5 * costs.iou
    torch.testing.assert_close(costs.total, expected)


def test_epsilon_of_the_classification_cost():
    """A probability of 0: -log(eps) in place of infinity."""
    box = torch.tensor([[1.0, 1.0, 0.0, 4.0, 2.0, 2.0, 0.0, 0, 0]])
    settings = TargetSettings(cls_cost=1.0, focal_eps=1e-6)
    costs = matching_costs(box, torch.tensor([[-1e4]]), box, torch.tensor([0]), GRID, settings)
    assert costs.classification.item() == pytest.approx(-0.25 * math.log(1e-6))


def test_lifting_compares_top_faces():
    """Equal bottoms, different heights: lifted by half the height they no longer overlap fully."""
    low = torch.tensor([[0.0, 0, 0.5, 2.0, 2.0, 1.0, 0.0, 0, 0]])
    high = torch.tensor([[0.0, 0, 1.5, 2.0, 2.0, 3.0, 0.0, 0, 0]])
    args = (low, torch.zeros(1, 1), high, torch.tensor([0]), GRID, TargetSettings())
    # Plain: 0..1 in 0..3. Lifted: 0.5..1.5 and 1.5..4.5.
    assert matching_costs(*args).iou.item() == pytest.approx(1 / 3)
    assert matching_costs(*args, lifted=True).iou.item() == pytest.approx(0.0, abs=1e-6)


def test_matching_is_optimal_and_survives_broken_costs():
    costs = torch.tensor([[1.0, 2.0], [1.1, 9.0], [5.0, 5.0]])
    rows, columns = match(costs)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}
    costs[0] = float("nan")
    costs[1, 1] = float("inf")
    rows, columns = match(costs)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {1: 0, 2: 1}
    rows, columns = match(torch.rand(2, 5))
    assert sorted(rows.tolist()) == [0, 1]
    assert len(set(columns.tolist())) == 2


def test_settings_are_checked():
    with pytest.raises(ValueError, match="10 code_weights, got 3"):
        LossSettings(code_weights=(1, 2, 3))
    with pytest.raises(ValueError, match="expected 1 or 10 values, got 2"):
        DecodeSettings(iou_alpha=[0.5, 0.6]).alphas(10)
    with pytest.raises(ValueError, match="centre_range_m"):
        DecodeSettings(centre_range_m=(0, 1))
    assert DecodeSettings(iou_alpha=[0.3]).alphas(2) == (0.3, 0.3)
    assert DecodeSettings(iou_alpha=None).alphas(2) is None


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_a_gradient_at_certain_answers(gamma):
    logits = torch.tensor([[200.0, -200.0, 0.5]], requires_grad=True)
    labels = torch.tensor([0])
    loss = sigmoid_focal_loss(logits, labels, 0.25, gamma)
    p = torch.tensor(0.5).sigmoid()
    torch.testing.assert_close(loss.detach(), 0.75 * p**gamma * -(1 - p).log())
    loss.backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (TargetSettings, dict(gaussian_overlap=-0.5), "gaussian_overlap: expected 0 to 1"),
        (TargetSettings, dict(cls_cost=float("nan")), "cls_cost: expected finite numbers from 0"),
        (LossSettings, dict(code_weights=[float("nan")] * 10), "code_weights: expected finite"),
        (LossSettings, dict(bbox=-1.0), "bbox: expected finite numbers from 0 on, got -1.0"),
        (DecodeSettings, dict(iou_alpha=-1.0), "iou_alpha: expected 0 to 1, got -1.0"),
        (DecodeSettings, dict(iou_alpha=(0.5, 1.5)), "iou_alpha: expected 0 to 1"),
    ],
)
def test_settings_without_a_meaning(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**fields)
