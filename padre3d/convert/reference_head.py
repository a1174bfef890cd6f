"""The reference's DENSE_HEAD section as the settings of our head."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from padre3d.convert.settings_reader import Settings
from padre3d.head.branches import BOX_BRANCHES
from padre3d.head.settings import DecodeSettings, LossSettings, TargetSettings
from padre3d.structures.classes import POINT_CLASSES

OVERLAPS = ("nms_gpu", "nms_normal_gpu")


class DataSet(NamedTuple):
    """What the reference's code ties to the name of a data set, and no setting changes.

    Attributes:
        num_classes: that its post-processing knows.
        point_classes: without a neighbourhood in the heatmap.
        nms_classes: that go through suppression.
        nms_iou: overlap at which they suppress each other; NMS_THRESH is overridden.
    """

    num_classes: int
    point_classes: tuple[int, ...]
    nms_classes: tuple[int, ...]
    nms_iou: float


DATA_SETS = {
    "nuScenes": DataSet(10, POINT_CLASSES, POINT_CLASSES, 0.175),
    "Waymo": DataSet(3, (1, 2), (0, 1, 2), 0.7),
}


def read_head(
    head: Settings, num_classes: int, in_channels: int, stride: int, notes: list[str]
) -> dict[str, Any]:
    """Read the section.

    Args:
        head: ``MODEL.DENSE_HEAD``.
        num_classes: length of CLASS_NAMES.
        in_channels: channels of the head's map.
        stride: cells of the pillar grid along a cell of the map.
        notes: collects what has no influence, or one that differs.

    Returns:
        Config of our head. Settings that are our defaults are left out of its three groups.
    """
    head.only("NAME", "TransFusionHead", optional=False)
    head.only("CLASS_AGNOSTIC", False)
    head.unread(notes, NUM_CLASSES=num_classes)
    head.ignore("USE_BIAS_BEFORE_NORM")
    target = head.part("TARGET_ASSIGNER_CONFIG")
    data = _data_set(target, num_classes, notes)
    proposals = head.whole("NUM_PROPOSALS", 1)
    channels, heads = head.whole("HIDDEN_CHANNEL", 1), head.whole("NUM_HEADS", 1)
    if channels % heads:
        head.problem("NUM_HEADS", f"expected heads that divide {channels}, got {heads}")
    kernel = head.whole("NMS_KERNEL_SIZE", 1)
    if kernel % 2 == 0:
        head.problem("NMS_KERNEL_SIZE", f"expected an odd number, got {kernel}")
    config: dict[str, Any] = dict(
        type="PADReTransFusionHead",
        in_channels=in_channels,
        channels=channels,
        num_proposals=proposals,
        num_heads=heads,
        ffn_channels=head.whole("FFN_CHANNEL", 1),
        nms_kernel=kernel,
        point_classes=data.point_classes,
        dsvt_compat=True,
        **_choices(head),
    )
    has_iou = config.get("iou_branch", True)
    groups: dict[str, tuple[Any, Any]] = {
        "targets": (_targets(target, stride), TargetSettings()),
        "losses": (_losses(head.part("LOSS_CONFIG")), LossSettings()),
        "decode": (
            _decode(head.part("POST_PROCESSING"), proposals, num_classes, data, has_iou),
            DecodeSettings(),
        ),
    }
    head.finish()
    for name, (settings, usual) in groups.items():
        changed = {k: v for k, v in asdict(settings).items() if v != getattr(usual, k)}
        if changed:
            config[name] = changed
    return config


def _data_set(target: Settings, num_classes: int, notes: list[str]) -> DataSet:
    name = target.take("DATASET", "nuScenes")
    if name not in DATA_SETS:
        target.problem("DATASET", f"only {' or '.join(DATA_SETS)} is supported, got {name!r}")
        name = "nuScenes"
    data = DATA_SETS[name]
    if num_classes < data.num_classes:
        target.problem(
            "DATASET",
            f"{name!r} treats classes {data.nms_classes} apart, so it has at least "
            f"{data.num_classes}, got {num_classes}",
        )
    if num_classes > data.num_classes:
        notes.append(
            f"{target.name('DATASET')}: {name!r} loses boxes of classes after the first "
            f"{data.num_classes} in the reference, ours keeps them"
        )
    return data


def _choices(head: Settings) -> dict[str, Any]:
    """Settings of the modules that are not our defaults."""
    head.only("ACTIVATION", "relu", "gelu", optional=False)
    layers, has_iou = _branches(head.part("SEPARATE_HEAD_CFG"))
    layers["heatmap"] = head.whole("NUM_HM_CONV", 1)
    values: dict[str, tuple[Any, Any]] = {
        "activation": (head.values["ACTIVATION"], "relu"),
        "dropout": (head.probability("DROPOUT"), 0.0),
        "bn_momentum": (head.number("BN_MOMENTUM", 0.1), 0.1),
        "branch_layers": ({name: n for name, n in layers.items() if n != 2}, {}),
        "iou_branch": (has_iou, True),
    }
    return {name: value for name, (value, usual) in values.items() if value != usual}


def _branches(branches: Settings) -> tuple[dict[str, int], bool]:
    """Layers of each branch but the heatmap's, and whether there is one for the IoU."""
    branches.only("HEAD_ORDER", list(BOX_BRANCHES))
    outputs = branches.part("HEAD_DICT")
    sizes = {**BOX_BRANCHES, **({"iou": 1} if "iou" in outputs.values else {})}
    layers = {}
    for name, size in sizes.items():
        branch = outputs.part(name)
        branch.only("out_channels", size, optional=False)
        layers[name] = branch.whole("num_conv", 1)
        branch.finish()
    outputs.finish()
    branches.finish()
    return layers, "iou" in sizes


def _targets(target: Settings, stride: int) -> TargetSettings:
    target.only("FEATURE_MAP_STRIDE", stride)
    assigner, usual = target.part("HUNGARIAN_ASSIGNER"), TargetSettings()
    cls, reg, iou = (assigner.part(f"{name}_cost") for name in ("cls", "reg", "iou"))
    settings = TargetSettings(
        gaussian_overlap=target.number("GAUSSIAN_OVERLAP"),
        min_radius=target.whole("MIN_RADIUS", 0),
        cls_cost=cls.number("weight", usual.cls_cost),
        reg_cost=reg.number("weight", usual.reg_cost),
        iou_cost=iou.number("weight", usual.iou_cost),
        focal_alpha=cls.number("alpha", usual.focal_alpha),
        focal_gamma=cls.number("gamma", usual.focal_gamma),
        focal_eps=cls.number("eps", usual.focal_eps),
    )
    for part in (cls, reg, iou, assigner, target):
        part.finish()
    return settings


def _losses(loss: Settings) -> LossSettings:
    cls, weights = loss.part("LOSS_CLS"), loss.part("LOSS_WEIGHTS")
    cls.only("use_sigmoid", True, optional=False)
    settings = LossSettings(
        heatmap=weights.number("hm_weight"),
        cls=weights.number("cls_weight"),
        bbox=weights.number("bbox_weight"),
        iou=weights.number("loss_iou_rescore_weight"),
        code_weights=tuple(weights.numbers("code_weights", 10)),
        focal_alpha=cls.number("alpha"),
        focal_gamma=cls.number("gamma"),
    )
    for part in (cls, weights, loss):
        part.finish()
    return settings


def _decode(
    post: Settings, num_proposals: int, num_classes: int, data: DataSet, has_iou: bool
) -> DecodeSettings:
    nms = post.part("NMS_CONFIG")
    nms.only("NMS_TYPE", *OVERLAPS, optional=False)
    nms.ignore("NMS_THRESH")
    before = nms.whole("NMS_PRE_MAXSIZE", 0, num_proposals)
    alpha = _rescoring(post, num_classes)
    least = nms.take("SCORE_THRES", 0.0)
    settings = DecodeSettings(
        score_thr=post.number("SCORE_THRESH"),
        centre_range_m=tuple(post.numbers("POST_CENTER_RANGE", 6)),
        iou_alpha=alpha if has_iou else None,
        nms_classes=data.nms_classes,
        nms_iou=data.nms_iou,
        nms_max=nms.whole("NMS_POST_MAXSIZE", 0),
        nms_pre=before if before < num_proposals else None,
        nms_score_thr=0.0 if least is None else nms.number("SCORE_THRES", 0.0),
        nms_rotated=nms.values["NMS_TYPE"] == OVERLAPS[0],
    )
    nms.finish()
    post.finish()
    return settings


def _rescoring(post: Settings, num_classes: int) -> float | tuple[float, ...] | None:
    """Exponents of the predicted IoU: one, one for each class, or None without rescoring."""
    alpha = post.take("IOU_RECTIFIER", [])
    if not post.flag("USE_IOU_TO_RECTIFY_SCORE", False):
        return None
    alphas = tuple(alpha) if isinstance(alpha, (list, tuple)) else (alpha,)
    # The reference looks a class's exponent up, so it takes more than there are classes.
    if len(alphas) != 1 and len(alphas) < num_classes:
        post.problem("IOU_RECTIFIER", f"expected 1 or {num_classes} exponents, got {alpha!r}")
        return None
    return alphas[0] if len(alphas) == 1 else alphas[:num_classes]
