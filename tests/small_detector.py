"""A detector of a few thousand weights, its clouds and samples, for tests of the whole chain.

The only one: training, inference, export and the runtime are tested on it.
"""

from __future__ import annotations

import copy

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

import padre3d.plugin  # noqa: F401

RANGE_M = 10.8
MODEL = dict(
    type="PADReDetector",
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    grid=dict(range_m=(-RANGE_M, -RANGE_M, -5.0, RANGE_M, RANGE_M, 3.0), cell_m=(0.6, 0.6)),
    pillar_encoder=dict(type="DynamicPillarEncoder", in_channels=5, filters=(16, 16)),
    backbone=dict(
        type="VoxelBackbone",
        dim=16,
        num_blocks=2,
        ffn_dim=32,
        window=(6, 6),
        shifts=((0, 0), (3, 3)),
        set_size=12,
        mixer=dict(type="padre", degree=2, preset="sequence", kernel_size=5),
    ),
    bev_backbone=dict(
        type="ResidualBEVBackbone",
        in_channels=16,
        layers=(1, 1),
        strides=(1, 2),
        channels=(16, 16),
        up_strides=(0.5, 1),
        up_channels=(16, 16),
    ),
    head=dict(
        type="PADReTransFusionHead",
        in_channels=32,
        channels=16,
        num_heads=2,
        ffn_channels=16,
        branch_channels=16,
        num_proposals=40,
        local_radius=2,
    ),
)
PADRE = MODEL["backbone"]["mixer"]
GRID_PADRE = dict(type="padre", layout="grid", kernel_size=3)
# Settings of the backbone: a mixer for every layer, or one for each layer of a block.
MIXERS = {
    "padre": dict(mixer=PADRE),
    "padre on sets": dict(mixer=dict(PADRE, preset="paper")),
    "padre degree 3": dict(mixer=dict(PADRE, degree=3)),
    "attention": dict(mixer=dict(type="set_attention", num_heads=2)),
    "parallel": dict(mixer=PADRE, parallel=True),
    "grid": dict(mixer=dict(GRID_PADRE, dilation=2), pos_embed=None),
    "grid with blocks": dict(mixer=dict(GRID_PADRE, block=3), pos_embed=None),
    "grid and sequence": dict(mixers=[dict(GRID_PADRE, degree=3, separable=True), PADRE]),
}

HEADS = ("set_attention", "self_attention", "sima", "castling", "linear_angular")
HEADS += ("focused_linear", "efficient", "enhanced_linear", "knn_attention")
# Arguments that a mixer cannot do without on 16 channels, or that make it cheap.
ARGUMENTS = {
    "padre": dict(degree=3, kernel_size=5),
    "conv_control": dict(degree=3),
    "mamba": dict(state=4),
    **{name: dict(num_heads=2) for name in HEADS},
}


def mixer_config(name: str) -> dict:
    """A mixer of padre3d.mixers.MIXERS for the detector."""
    return dict(type=name, **ARGUMENTS.get(name, {}))


def build(seed: int = 0, head: dict | None = None, **backbone: object) -> torch.nn.Module:
    """The detector in evaluation mode, its norms with statistics and factors of a trained one."""
    cfg = copy.deepcopy(MODEL)
    cfg["backbone"].update(copy.deepcopy(backbone))
    cfg["head"].update(head or {})
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        model = MODELS.build(cfg)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model.forward_points([cloud(1500, 90), cloud(1500, 91)])
    return model.eval()


def cloud(num_points: int, seed: int = 0) -> torch.Tensor:
    """(num_points, 5) points on rough ground, some of it out of range, and in a few boxes."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.rand(num_points, 5, generator=draw)
    points[:, :2] = (points[:, :2] - 0.5) * 2.1 * RANGE_M
    points[:, 2] = points[:, 2] * 0.2 - 1.8
    for row, box in enumerate(BOXES):
        inside = points[row :: 2 * len(BOXES)]
        inside[:, :2] = (inside[:, :2] / RANGE_M / 2.1) * box[3:5] + box[:2]
        inside[:, 2] = box[2] + (inside[:, 2] + 1.7) * 5 * box[5]
    points[:, 3] *= 255
    points[:, 4] *= 0.45
    return points


# Rows x, y, z (gravity), length, width, height, yaw, vx, vy.
BOXES = torch.tensor(
    [
        [4.0, 3.0, -0.8, 4.5, 1.9, 1.7, 0.4, 5.0, 1.0],
        [-5.0, 2.0, -0.2, 7.0, 2.5, 3.0, -2.0, 0.0, 0.0],
        [1.5, -6.0, -0.9, 0.7, 0.7, 1.7, 1.0, 0.5, -1.0],
    ]
)
LABELS = torch.tensor([0, 1, 8])


def sample(boxes: torch.Tensor = BOXES, labels: torch.Tensor = LABELS) -> Det3DDataSample:
    """Annotation of a cloud; boxes are given with gravity centres."""
    bottom = boxes.clone()
    bottom[:, 2] -= bottom[:, 5] / 2
    truth = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(bottom, box_dim=9, origin=(0.5, 0.5, 0)), labels_3d=labels
    )
    return Det3DDataSample(gt_instances_3d=truth, metainfo=dict(box_type_3d=LiDARInstance3DBoxes))


def batch(clouds: list[torch.Tensor], samples: list[Det3DDataSample] | None = None) -> dict:
    """What a loader hands to ``train_step`` and ``test_step``; an empty cloud gets no boxes."""
    if samples is None:
        samples = [sample() if len(points) else sample(BOXES[:0], LABELS[:0]) for points in clouds]
    return dict(inputs=dict(points=list(clouds)), data_samples=samples)


def losses(model: torch.nn.Module, data: dict) -> dict[str, torch.Tensor]:
    """Losses of a batch, with gradients."""
    return model(**model.data_preprocessor(data, training=True), mode="loss")


def total(loss: dict[str, torch.Tensor]) -> torch.Tensor:
    """The number that training minimises."""
    return sum(value for name, value in loss.items() if name.startswith("loss"))


def gradients(model: torch.nn.Module, data: dict) -> dict[str, torch.Tensor]:
    """Gradients of the training loss by parameter, None where there is none."""
    model.train()
    model.zero_grad()
    total(losses(model, data)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def assert_sane(detections: InstanceData, model: torch.nn.Module) -> None:
    """Detections of ``test_step`` that a caller can use."""
    boxes = detections.bboxes_3d
    centres = boxes.gravity_center
    low, high = torch.tensor(model.head.decode_settings.centre_range_m).view(2, 3)
    assert torch.isfinite(boxes.tensor).all()
    assert (boxes.dims > 0).all()
    assert ((centres >= low - 1e-3) & (centres <= high + 1e-3)).all()
    assert ((detections.scores_3d >= 0) & (detections.scores_3d <= 1)).all()
    assert len(boxes) == len(detections.scores_3d) == len(detections.labels_3d)
    assert len(boxes) <= model.head.selector.num_proposals
    names = len(model.class_names)
    assert ((detections.labels_3d >= 0) & (detections.labels_3d < names)).all()
