"""A reference YAML with other choices than the published ones: each arrives in its module and acts.

What a module then computes is compared with torch's own layers or a slow loop where it lives:
tests/head/test_head_choices.py, tests/head/test_suppression.py, tests/golden/slow_stages.py.
"""

import re

import pytest
import torch
from mmengine.config import Config
from torch import nn

HEAD = "MODEL.DENSE_HEAD"
LAYER = "MODEL.BACKBONE_3D.INPUT_LAYER"
POST = f"{HEAD}.POST_PROCESSING"
BRANCHES = f"{HEAD}.SEPARATE_HEAD_CFG.HEAD_DICT"
TARGETS = f"{HEAD}.TARGET_ASSIGNER_CONFIG"

# Setting, its value, and where the model's config says it.
CHOICES = [
    ("MODEL.VFE.NAME", "DynPillarVFE3D", {}),
    ("MODEL.VFE.WITH_DISTANCE", True, {"pillar_encoder.with_distance": True}),
    ("MODEL.VFE.USE_ABSLOTE_XYZ", False, {"pillar_encoder.with_xyz": False}),
    ("MODEL.VFE.USE_NORM", False, {"pillar_encoder.with_norm": False}),
    ("MODEL.BACKBONE_3D.activation", "relu", {"backbone.activation": "relu"}),
    ("MODEL.BACKBONE_3D.dropout", 0.1, {"backbone.mixer.dropout": 0.1}),
    ("MODEL.BACKBONE_3D.reduction_type", "maxpool", {}),
    ("MODEL.BACKBONE_3D.ues_checkpoint", True, {"backbone.with_cp": True}),
    ("MODEL.BACKBONE_3D.output_shape", [468, 468], {}),
    (f"{LAYER}.set_info", [[48, 4]], {"backbone.set_size": 48}),
    (f"{LAYER}.normalize_pos", True, {"backbone.normalise_positions": True}),
    (f"{LAYER}.hybrid_factor", [2, 3, 1], {"backbone.window": ((30, 30), (60, 90))}),
    (
        f"{LAYER}.shifts_list",
        [[[30, -5, 0], [45, 15, 9], [1, 1, 1]]],
        {"backbone.shifts": ((0, 25), (15, 15))},
    ),
    ("MODEL.MAP_TO_BEV", dict(NAME="PointPillarScatter", NUM_BEV_FEATURES=16), {}),
    (f"{HEAD}.ACTIVATION", "gelu", {"head.activation": "gelu"}),
    (f"{HEAD}.DROPOUT", 0.2, {"head.dropout": 0.2}),
    (f"{HEAD}.BN_MOMENTUM", 0.03, {"head.bn_momentum": 0.03}),
    (f"{HEAD}.NUM_CLASSES", 3, {}),
    (f"{HEAD}.NUM_HM_CONV", 3, {"head.branch_layers": dict(heatmap=3)}),
    (f"{HEAD}.NUM_HM_CONV", 1, {"head.branch_layers": dict(heatmap=1)}),
    (f"{BRANCHES}.vel.num_conv", 4, {"head.branch_layers": dict(vel=4)}),
    (f"{BRANCHES}.iou", None, {"head.iou_branch": False, "head.decode": dict(iou_alpha=None)}),
    (f"{HEAD}.NMS_KERNEL_SIZE", 5, {"head.nms_kernel": 5}),
    (f"{TARGETS}.DATASET", None, {"head.point_classes": (8, 9)}),
    (
        f"{TARGETS}.DATASET",
        "Waymo",
        {
            "head.point_classes": (1, 2),
            "head.decode": dict(nms_classes=(0, 1, 2), nms_iou=0.7),
        },
    ),
    (
        f"{TARGETS}.HUNGARIAN_ASSIGNER.cls_cost",
        dict(eps=1e-6, gamma=1.5),
        {"head.targets": dict(focal_eps=1e-6, focal_gamma=1.5)},
    ),
    (f"{POST}.IOU_RECTIFIER", [0.1 * i for i in range(10)], None),
    (f"{POST}.USE_IOU_TO_RECTIFY_SCORE", None, {"head.decode": dict(iou_alpha=None)}),
    (f"{POST}.SCORE_THRESH", 0.03, {"head.decode": dict(score_thr=0.03)}),
    (f"{POST}.NMS_CONFIG.NMS_TYPE", "nms_normal_gpu", {"head.decode": dict(nms_rotated=False)}),
    (f"{POST}.NMS_CONFIG.NMS_PRE_MAXSIZE", 50, {"head.decode": dict(nms_pre=50)}),
    (f"{POST}.NMS_CONFIG.NMS_POST_MAXSIZE", 20, {"head.decode": dict(nms_max=20)}),
    (f"{POST}.NMS_CONFIG.SCORE_THRES", 0.2, {"head.decode": dict(nms_score_thr=0.2)}),
    ("DATA_CONFIG.DATA_PROCESSOR.2.NAME", "transform_points_to_voxels", {}),
    ("DATA_CONFIG.POINT_FEATURE_ENCODING.filter_sweeps", False, {}),
]


def get(config, path):
    for part in path.split("."):
        config = config[part]
    return config


def same(value, expected):
    """Equal, where numbers may have passed through text."""
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[k], expected[k]) for k in value)
    return value == expected


@pytest.mark.parametrize(("name", "value", "expected"), CHOICES, ids=lambda v: str(v)[:40])
def test_a_choice_arrives_in_the_config_and_nothing_else_changes(name, value, expected, read):
    published = read({}).model
    changed = read({name: value}).model
    if expected is None:  # a table as it is
        expected = {"head.decode": dict(iou_alpha=tuple(value))}
    for path, choice in expected.items():
        assert same(get(changed, path), choice), get(changed, path)
    touched = {tuple(path.split(".")[:2]) for path in expected}
    parts = [part for part, settings in published.items() if isinstance(settings, dict)]
    for part in parts:
        was, now = published[part], changed[part]
        keys = (was.keys() | now.keys()) - {k for p, k in touched if p == part}
        assert {k: was.get(k) for k in keys} == {k: now.get(k) for k in keys}


@pytest.mark.parametrize(
    ("name", "value", "note"),
    [
        (f"{HEAD}.NUM_CLASSES", 3, "NUM_CLASSES: 3 has no influence in the reference"),
        ("MODEL.BACKBONE_3D.output_shape", [9, 9], "output_shape: .* has no influence"),
        (f"{LAYER}.shifts_list", [[[0, 0, 0]] * 3], "shifts_list: only the first 2 are read"),
        (
            f"{TARGETS}.DATASET",
            "Waymo",
            "DATASET: 'Waymo' loses boxes of classes after the first 3",
        ),
    ],
)
def test_what_does_not_act_is_noted(name, value, note, read):
    assert not any(re.search(note, line) for line in read({}).notes)
    assert any(re.search(note, line) for line in read({name: value}).notes)


ALL = {
    "MODEL.VFE.WITH_DISTANCE": True,
    "MODEL.VFE.USE_NORM": False,
    "MODEL.BACKBONE_3D.activation": "relu",
    "MODEL.BACKBONE_3D.dropout": 0.1,
    f"{LAYER}.normalize_pos": True,
    f"{LAYER}.hybrid_factor": [2, 1, 1],
    "MODEL.BACKBONE_2D.UPSAMPLE_STRIDES": [],
    "MODEL.BACKBONE_2D.NUM_UPSAMPLE_FILTERS": [],
    "MODEL.BACKBONE_2D.LAYER_STRIDES": [2, 1, 1],
    f"{HEAD}.ACTIVATION": "gelu",
    f"{HEAD}.DROPOUT": 0.2,
    f"{HEAD}.BN_MOMENTUM": 0.03,
    f"{HEAD}.NUM_HM_CONV": 3,
    f"{BRANCHES}.iou": None,
    f"{HEAD}.NMS_KERNEL_SIZE": 5,
    f"{POST}.NMS_CONFIG.NMS_TYPE": "nms_normal_gpu",
    f"{POST}.NMS_CONFIG.NMS_PRE_MAXSIZE": 50,
    f"{POST}.NMS_CONFIG.SCORE_THRES": 0.2,
}


def test_all_choices_at_once_from_yaml_to_boxes_and_losses(read, tool, tmp_path):
    """Through the emitted config file, as a user has it; weights there and back."""
    from padre3d.convert.checkpoint import to_ours, to_reference

    read(ALL)
    out = tmp_path / "emitted.py"
    tool.main(["--reference-config", str(tmp_path / "changed.yaml"), "--emit-config", str(out)])
    torch.manual_seed(0)
    detector = tool.build_detector(Config.fromfile(out).model)
    layer = detector.backbone.blocks[0].layers[0]
    assert isinstance(layer.activation, nn.ReLU)
    assert layer.mixer.dropout == 0.1
    assert detector.backbone.planner.partitions[1].window == (60, 30)
    assert detector.bev_backbone.stride == 2
    assert len(detector.bev_backbone.resize) == 0
    assert isinstance(detector.head.decoder.ffn[1], nn.GELU)
    assert detector.head.decoder.dropout == 0.2
    assert detector.head.heatmap_head[1].momentum == 0.03
    assert detector.head.selector.kernel == 5

    points = [torch.rand(600, 5, generator=torch.Generator().manual_seed(1)) * 20 - 5]
    losses = detector.head.loss(
        detector.forward_points(points),
        [torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0.3, 0, 0]])],
        [torch.tensor([0])],
    )
    sum(loss for name, loss in losses.items() if name != "matched_iou").backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert torch.isfinite(detector.eval().predict_points(points)[0].boxes).all()

    state = detector.state_dict()
    reference, _ = to_reference({"state_dict": state}, state)
    assert "vfe.pfn_layers.0.linear.bias" in reference["model_state"]
    back, mapped = to_ours(reference, state)
    assert len(mapped) == len(state)
    for key, value in state.items():
        assert torch.equal(back["state_dict"][key], value), key
