"""The head as a whole: boxes in, boxes out; training; edge cases; bad input."""

import math

import pytest
import torch
from perfect_outputs import GRID, outputs_that_say
from pretended_device import READ, PretendedDevice, PretendedTensor, to_pretended
from same_outputs import assert_same_outputs, sample_of

from padre3d.head import HeadOutputs, PADReTransFusionHead
from padre3d.head.box_coding import decode_boxes, encode_boxes
from padre3d.structures.grid import PillarGrid


def make_head(seed=0, device="cpu", **kwargs):
    torch.manual_seed(seed)
    settings = dict(
        in_channels=6, channels=16, num_heads=4, num_proposals=12, ffn_channels=32, local_radius=3
    )
    return PADReTransFusionHead(GRID, **{**settings, **kwargs}).to(device)


def some_boxes(n, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(n, 9, generator=generator)
    low = torch.tensor([-9, -7, -1, 1.5, 0.6, 1.0, -3.1, -5, -5.0])
    high = torch.tensor([9, 7, 1, 5.0, 2.0, 3.0, 3.1, 5, 5.0])
    labels = torch.randint(0, 10, (n,), generator=generator)
    return (low + unit * (high - low)).to(device), labels.to(device)


def test_a_box_survives_encoding_and_decoding(device):
    boxes, labels = some_boxes(30, device=device)
    head = make_head(num_proposals=30, device=device, decode=dict(nms_classes=()))
    found = head.predict(outputs_that_say(boxes, labels))[0]
    torch.testing.assert_close(found.boxes, boxes, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.labels, labels)
    torch.testing.assert_close(found.scores, torch.ones_like(found.scores))


def test_height_is_the_top_face_and_the_centre_is_in_cells():
    grid = PillarGrid(**GRID)
    box = torch.tensor([[2.0, -3.0, 0.5, 4.0, 2.0, 1.0, math.pi / 2, 1.0, -1.0]])
    code = encode_boxes(box, grid)
    expected = [12.0, 5.0, 1.0, math.log(4), math.log(2), 0.0, 1.0, 0.0, 1.0, -1.0]
    torch.testing.assert_close(code, torch.tensor([expected]), atol=1e-6, rtol=0)
    torch.testing.assert_close(decode_boxes(code, grid), box)


def test_scores_filters_rescoring_and_nms():
    boxes = torch.zeros(6, 9)
    boxes[:, 3:6] = torch.tensor([2.0, 2.0, 2.0])
    boxes[:, 0] = torch.tensor([0.0, 0.5, 5.0, 5.5, -5.0, 0.0])
    boxes[5, 2] = 50.0  # far above the range
    labels = torch.tensor([8, 8, 0, 0, 3, 3])
    scores = torch.tensor([0.4, 0.9, 0.6, 0.7, 0.1, 0.9])
    outputs = outputs_that_say(boxes, labels, scores)
    outputs = outputs._replace(iou=torch.tensor([1.0, -0.8, 0.0, 0.0, 1.0, 1.0]).view(1, 6, 1))
    head = make_head(num_proposals=6, decode=dict(score_thr=0.2, iou_alpha=0.5))
    found = head.predict(outputs)[0]
    # 4 is below the threshold, 5 out of range; rescoring makes 0 better than 1; class 0 has no NMS.
    assert found.boxes[:, 0].tolist() == [0.0, 5.0, 5.5]
    assert found.labels.tolist() == [8, 0, 0]
    expected = torch.tensor([0.4, 0.6 * 0.5, 0.7 * 0.5]).sqrt()
    torch.testing.assert_close(found.scores, expected)

    plain = make_head(num_proposals=6, decode=dict(score_thr=0.2, iou_alpha=None))
    found = plain.predict(outputs)[0]
    assert found.boxes[:, 0].tolist() == [0.5, 5.0, 5.5]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.6, 0.7]))
    assert len(plain.predict(outputs, score_thr=0.65)[0].boxes) == 2
    assert len(plain.predict(outputs, score_thr=0.99)[0].boxes) == 0


def test_rescoring_per_class():
    boxes, _ = some_boxes(2)
    outputs = outputs_that_say(boxes, torch.tensor([0, 1]), torch.tensor([0.5, 0.5]))
    outputs = outputs._replace(iou=torch.zeros(1, 2, 1))
    head = make_head(num_proposals=2, decode=dict(iou_alpha=[0.0, 1.0] + [0.5] * 8))
    torch.testing.assert_close(head.predict(outputs)[0].scores, torch.tensor([0.5, 0.5]))
    outputs = outputs._replace(iou=torch.full((1, 2, 1), -0.6))
    torch.testing.assert_close(head.predict(outputs)[0].scores, torch.tensor([0.5, 0.2]))
    outputs = outputs._replace(iou=torch.full((1, 2, 1), 1.4))  # the branch has no bound
    torch.testing.assert_close(head.predict(outputs)[0].scores, torch.tensor([0.5, 1.0]))


def test_targets_of_a_perfect_prediction(device):
    boxes, labels = some_boxes(8, device=device)
    head = make_head(num_proposals=8, device=device)
    order = torch.randperm(8).to(device)
    outputs = outputs_that_say(boxes, labels)
    targets = head.targets(outputs, [boxes[order]], [labels[order]])
    assert order[targets.matched[0]].tolist() == list(range(8))
    assert targets.matched_iou.item() == pytest.approx(1.0, abs=1e-5)
    losses = head.loss(outputs, [boxes[order]], [labels[order]])
    for name in ("loss_bbox", "loss_iou", "loss_cls"):
        assert losses[name].item() == pytest.approx(0.0, abs=1e-4), name


def test_losses_are_means_over_the_matches(device):
    """Twice the same sample, or the same sample once."""
    boxes, labels = some_boxes(5, device=device)
    head = make_head(num_proposals=5, device=device)
    outputs = outputs_that_say(boxes, labels)
    outputs = outputs._replace(
        center=outputs.center + 0.1, heatmap=outputs.heatmap / 20, iou=outputs.iou * 0.3
    )
    twice = HeadOutputs(*(torch.cat((value, value)) for value in outputs))
    one, two = head.loss(outputs, [boxes], [labels]), head.loss(twice, [boxes] * 2, [labels] * 2)
    for name, value in one.items():
        assert value.item() > 0
        torch.testing.assert_close(two[name], value)
    assert one["loss_bbox"].item() == pytest.approx(0.2 * 0.25, rel=1e-4)


@pytest.mark.parametrize("reference", [False, True])
def test_iou_of_matched_boxes(reference):
    """Ours compares the boxes themselves; the reference lifts each by half its own height."""
    box = torch.tensor([[0.0, 0.0, 0.5, 2.0, 2.0, 1.0, 0.0, 0.0, 0.0]])
    gt = torch.tensor([[0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0]])
    head = make_head(num_proposals=1, dsvt_compat=reference)
    losses = head.loss(outputs_that_say(box, torch.tensor([0])), [gt], [torch.tensor([0])])
    # 0..1 in 0..2, or 0.5..1.5 and 1..3; the prediction says 1, the weight is 0.5.
    iou = 0.5 / 2.5 if reference else 0.5
    assert losses["loss_iou"].item() == pytest.approx(0.5 * (1 - (2 * iou - 1)), abs=1e-5)
    assert losses["matched_iou"].item() == pytest.approx(iou, abs=1e-5)


def losses_of_any_number_of_boxes(counts, device):
    """Losses of two samples, each finite and with a gradient for every weight."""
    head = make_head(device=device).train()
    outputs = head(torch.randn(2, 6, 16, 20).to(device))
    ground_truth = [some_boxes(n, seed, device) for seed, n in enumerate(counts)]
    losses = head.loss(outputs, *map(list, zip(*ground_truth, strict=True)))
    assert list(losses) == ["loss_heatmap", "loss_cls", "loss_bbox", "loss_iou", "matched_iou"]
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name  # distributed training needs every one
        assert torch.isfinite(parameter.grad).all(), name
    assert torch.isfinite(losses["matched_iou"])
    assert losses["loss_heatmap"].item() > 0
    return losses


@pytest.mark.parametrize("counts", [(3, 0), (40, 2)])
def test_any_number_of_boxes_gives_finite_losses_and_gradients(counts, device):
    """An empty sample, more boxes than proposals."""
    assert losses_of_any_number_of_boxes(counts, device)["loss_bbox"].item() > 0.1


def test_no_box_at_all_gives_finite_losses_and_gradients(device):
    losses = losses_of_any_number_of_boxes((0, 0), device)
    assert losses["loss_bbox"].item() == 0
    assert losses["loss_iou"].item() == 0


def test_unknown_velocity_does_not_count():
    boxes, labels = some_boxes(4)
    head = make_head(num_proposals=4, losses=dict(code_weights=[0] * 8 + [1, 1]))
    outputs = outputs_that_say(boxes, labels)
    outputs = outputs._replace(vel=outputs.vel + 1)
    known = head.loss(outputs, [boxes], [labels])["loss_bbox"]
    assert known.item() == pytest.approx(2 * 0.25, rel=1e-5)
    boxes[0, 7:] = float("nan")
    unknown = head.loss(outputs, [boxes], [labels])["loss_bbox"]
    assert unknown.item() == pytest.approx(known.item() * 3 / 4, rel=1e-5)


def test_a_sample_is_the_same_alone_and_in_a_batch(device):
    head = make_head(device=device).eval()
    bev = torch.randn(3, 6, 16, 20).to(device)
    with torch.no_grad():
        together = head(bev)
        for b in range(3):
            assert_same_outputs(sample_of(together, b), head(bev[b : b + 1]), head)


def test_positions_are_x_then_y():
    """A map that is hot in one cell gives a proposal there."""
    head = make_head(num_proposals=1).eval()
    torch.nn.init.zeros_(head.heatmap_head[-1].weight)
    torch.nn.init.zeros_(head.branches["center"][-1].weight)
    torch.nn.init.zeros_(head.branches["center"][-1].bias)
    with torch.no_grad():
        head.heatmap_head[-1].weight[0, 0, 1, 1] = 1
        head.heatmap_head[0].weight.zero_()
        head.heatmap_head[0].weight[0, 0, 1, 1] = 1
        head.shared_conv.weight.zero_()
        head.shared_conv.weight[0, 0, 1, 1] = 1
        bev = torch.zeros(1, 6, 16, 20)
        bev[0, 0, 3, 11] = 50.0
        outputs = head(bev)
    assert outputs.query_pos.tolist() == [[[11.5, 3.5]]]
    found = decode_boxes(torch.cat((outputs.center, torch.zeros(1, 1, 8)), 2), head.grid)
    torch.testing.assert_close(found[0, 0, :2], torch.tensor([1.5, -4.5]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_losses_and_positions_in_float32(dtype, device):
    head = make_head(device=device).train()
    bev = torch.randn(2, 6, 16, 20).to(device)
    boxes, labels = zip(*(some_boxes(5, s, device) for s in range(2)), strict=True)
    with torch.autocast(device.type, dtype=dtype):
        outputs = head(bev)
        losses = head.loss(outputs, list(boxes), list(labels))
    for name, value in outputs._asdict().items():
        assert value.dtype in (torch.float32, torch.int64), name
    assert torch.equal(outputs.query_pos % 1, torch.full_like(outputs.query_pos, 0.5))
    exact = head.loss(outputs, list(boxes), list(labels))
    for name, value in losses.items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, exact[name]), name
    sum(v for n, v in losses.items() if "loss" in n).backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_overflow_reaches_the_loss_and_stops_nothing():
    """The gradient scaler must see it; the matching must not raise."""
    head = make_head(num_proposals=4)
    boxes, labels = some_boxes(4)
    outputs = outputs_that_say(boxes, labels)
    broken = outputs.height.clone()
    broken[0, 1] = float("nan")
    losses = head.loss(outputs._replace(height=broken), [boxes], [labels])
    assert not torch.isfinite(losses["loss_bbox"])
    with pytest.raises(ValueError, match="expected finite numbers, got NaN in height"):
        head.predict(outputs._replace(height=broken))


@pytest.mark.parametrize("reference", [False, True])
def test_training_step_waits_for_the_device_only_to_match(reference):
    head = make_head(dsvt_compat=reference).train()
    boxes, labels = some_boxes(6)
    with PretendedDevice() as pretended:
        to_pretended(head)
        outputs = head(PretendedTensor(torch.randn(1, 6, 16, 20)))
        losses = head.loss(outputs, [PretendedTensor(boxes)], [PretendedTensor(labels)])
        (losses["loss_bbox"] + losses["loss_iou"]).backward()
    waits = [(wait.kind, wait.line.split(":")[0]) for wait in pretended.waits]
    assert waits == [(READ, "targets.py"), (READ, "assign.py")]  # the check of the boxes, too


def test_head_learns_its_boxes():
    """A few steps on one map: every box is found at its place, with its yaw, size and class."""
    head = make_head(num_proposals=20, in_channels=8, dense_heatmap_bias=-2.19).train()
    boxes, labels = some_boxes(6, seed=5)
    bev = torch.randn(1, 8, 16, 20, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(head.parameters(), lr=4e-3)
    for _ in range(220):
        losses = head.loss(head(bev), [boxes], [labels])
        optimizer.zero_grad()
        sum(v for n, v in losses.items() if "loss" in n).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 10)
        optimizer.step()
    found = head.predict(head(bev), score_thr=0.1)[0]
    for box, label in zip(boxes, labels, strict=True):
        distance = (found.boxes[:, :2] - box[:2]).norm(dim=1)
        best = distance.masked_fill(found.labels != label, 1e3).argmin()
        assert distance[best] < 0.3
        error = found.boxes[best] - box
        assert error[2].abs() < 0.2
        assert (error[3:6].abs() / box[3:6]).max() < 0.15
        assert abs(math.remainder(error[6].item(), 2 * math.pi)) < 0.2
    assert losses["matched_iou"] > 0.6


def test_dense_heatmap_bias():
    assert torch.equal(
        make_head(dense_heatmap_bias=-2.19).heatmap_head[-1].bias, torch.full((10,), -2.19)
    )
    assert make_head().heatmap_head[-1].bias.abs().max() < 0.2
    assert torch.equal(make_head().branches["heatmap"][-1].bias, torch.full((10,), -2.19))


def test_bad_input_is_refused():
    head = make_head()
    for shape in ((1, 5, 16, 20), (1, 6, 20, 16), (6, 16, 20)):
        with pytest.raises(ValueError, match="PADReTransFusionHead input"):
            head(torch.zeros(shape))
    outputs = head(torch.randn(1, 6, 16, 20))
    boxes, labels = some_boxes(3)
    bad_size, nan_box = boxes.clone(), boxes.clone()
    bad_size[1, 4] = 0.0
    nan_box[0, 0] = float("nan")
    for gt_boxes, gt_labels, message in (
        ([boxes[:, :7]], [labels], r"\(M, 9\).*got \(3, 7\) in sample 0"),
        ([boxes], [labels[:2]], "3 integer gt_labels"),
        ([boxes], [labels.float()], "integer gt_labels"),
        ([boxes], [torch.tensor([0, 10, 1])], r"gt_labels in 0..9, got 0..10"),
        ([boxes], [torch.tensor([0, -1, 1])], r"gt_labels in 0..9, got -1..1"),
        ([bad_size], [labels], "positive sizes"),
        ([nan_box], [labels], "finite gt_boxes"),
        ([boxes, boxes], [labels, labels], "expected 1 samples"),
    ):
        with pytest.raises(ValueError, match=message):
            head.loss(outputs, gt_boxes, gt_labels)
    for settings, message in (
        (dict(channels=18), "divisible by 4 heads, got 18"),
        (dict(nms_kernel=4), "odd nms_kernel, got 4"),
        (dict(num_proposals=0), "1..3200 proposals, got 0"),
        (dict(num_proposals=3201), "1..3200 proposals, got 3201"),
        (dict(num_classes=3, point_classes=(8, 9)), r"labels in 0\.\.2, got \[8, 9\]"),
        (dict(point_classes=("tram",)), "point_classes: expected names .* got .'tram'"),
        (dict(decode=dict(nms_classes=("tram",))), "nms_classes: expected names .* got .'tram'"),
        (dict(num_classes=2, class_names=("a", "a")), "2 different class_names"),
    ):
        with pytest.raises(ValueError, match=message):
            make_head(**settings)
