"""The tiny reference detector, converted: points to boxes at full grid size, and one training step.

Every stage starts from what our stage before it gave, so the errors are those of the whole chain.
"""

import pytest
import torch
import torch.nn.functional as F

from padre3d.convert.checkpoint import to_ours
from padre3d.convert.reference_config import read_reference_config

from .arrays import Golden, pillars_from_reference
from .head_checks import check_final, check_inference, close
from .tiny_reference import reference_weights, write_yaml


@pytest.fixture(scope="module")
def golden(golden_dir):
    return Golden(golden_dir / "detector_tiny.npz")


@pytest.fixture
def detector(golden, golden_dir, tmp_path):
    pytest.importorskip("mmdet3d")
    from mmengine.registry import init_default_scope

    from padre3d.plugin import MODELS

    init_default_scope("mmdet3d")
    model = read_reference_config(write_yaml(golden, tmp_path / "tiny.yaml")).model
    detector = MODELS.build(model)
    converted, _ = to_ours(reference_weights(golden_dir), detector.state_dict())
    detector.load_state_dict(converted["state_dict"], strict=True)
    return detector.eval()


@pytest.fixture
def points(golden):
    return [golden["points"][:, 1:]]


def record(detector):
    """Outputs of the stages in the last forward, by name."""
    seen = {}
    for name in ("pillar_encoder", "backbone", "bev_backbone", "head"):
        getattr(detector, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update(
                {f"{name} in": inputs[0], name: output}
            )
        )
    return seen


@torch.no_grad()
def test_every_stage_from_points_to_boxes(golden, detector, points):
    seen = record(detector)
    detections = detector.predict_points(points)[0]
    expected, rows = pillars_from_reference(
        golden["stage/pillar_features"], golden["stage/voxel_coords"], 1
    )
    assert torch.equal(seen["pillar_encoder"].coords, expected.coords)
    close(seen["pillar_encoder"].features, expected.features, atol=1e-5, rtol=1e-5)
    stage = dict(atol=5e-5, rtol=1e-5)
    close(seen["backbone"].features[rows], golden["stage/backbone_3d_out"], **stage)
    close(seen["bev_backbone in"], golden["stage/spatial_features"], **stage)
    close(seen["bev_backbone"], golden["stage/spatial_features_2d"], **stage)

    head = detector.head
    outputs, order = check_inference(golden, "head/", head, seen["head in"])
    check_final(golden, "head/", head, outputs, order)
    # Rounding may exchange the ranks of two proposals, so each box finds its golden one.
    boxes, labels = golden["final/pred_boxes"], golden["final/pred_labels"] - 1
    distance = (detections.boxes[None, :, :3] - boxes[:, None, :3]).norm(dim=2)
    order = distance.masked_fill(labels[:, None] != detections.labels, float("inf")).argmin(1)
    assert torch.equal(order.sort().values, torch.arange(len(detections.boxes)))
    close(detections.boxes[order], boxes)
    close(detections.scores[order], golden["final/pred_scores"])


@pytest.fixture
def exact_batch_statistics(monkeypatch):
    """Batch normalisation in double precision.

    In single precision its sums over 360 x 360 cells depend on the number of threads: the heatmap
    loss moves by 5e-5 between one and two.
    """
    plain = F.batch_norm

    def exact(x, mean, var, weight, bias, *args):
        given = (x, mean, var, weight, bias)
        return plain(*(value.double() for value in given), *args).to(x.dtype)

    monkeypatch.setattr(F, "batch_norm", exact)


@torch.no_grad()
def test_losses_of_a_training_step(golden, detector, points, exact_batch_statistics):
    detector.train()
    boxes = golden["gt_boxes"][0]
    outputs = detector.forward_points(points)
    losses = detector.head.loss(outputs, [boxes[:, :9]], [boxes[:, 9].long() - 1])
    tight = dict(atol=1e-5, rtol=1e-5)
    for name in ("heatmap", "cls", "bbox", "iou"):
        close(losses[f"loss_{name}"], golden[f"train/loss/loss_{name}"], **tight)
    close(losses["matched_iou"], golden["train/loss/matched_ious"], **tight)
    total = sum(value for name, value in losses.items() if "loss" in name)
    close(total, golden["train/loss/loss_trans"], **tight)
