"""The reference's DENSE_HEAD section as the settings of our head."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from padre3d.convert.settings_reader import Settings
from padre3d.head.branches import BOX_BRANCHES
from padre3d.head.settings import DecodeSettings, LossSettings, TargetSettings
from padre3d.structures.classes import POINT_CLASSES

# Fixed in the reference's code, which ignores NMS_THRESH, like POINT_CLASSES: the overlap at which
# boxes of those classes suppress each other.
NMS_IOU = 0.175


def read_head(head: Settings, num_classes: int, in_channels: int, stride: int) -> dict[str, Any]:
    """Read the section.

    Args:
        head: ``MODEL.DENSE_HEAD``.
        num_classes: length of CLASS_NAMES.
        in_channels: channels of the head's map.
        stride: cells of the pillar grid along a cell of the map.

    Returns:
        Config of our head. Settings that are our defaults are left out of its three groups.
    """
    head.only("NAME", "TransFusionHead", optional=False)
    head.only("NUM_CLASSES", num_classes)
    if num_classes <= max(POINT_CLASSES):
        head.problem(
            "NUM_CLASSES",
            f"the reference treats classes {POINT_CLASSES} apart, so it has at least "
            f"{max(POINT_CLASSES) + 1}, got {num_classes}",
        )
    head.only("CLASS_AGNOSTIC", False)
    head.only("NUM_HM_CONV", 2)
    head.only("ACTIVATION", "relu")
    head.only("DROPOUT", 0.0)
    head.only("BN_MOMENTUM", 0.1)
    # The reference does not read it.
    head.ignore("USE_BIAS_BEFORE_NORM")
    _check_branches(head.part("SEPARATE_HEAD_CFG"))
    proposals = int(head.number("NUM_PROPOSALS"))
    config: dict[str, Any] = dict(
        type="PADReTransFusionHead",
        in_channels=in_channels,
        channels=head.number("HIDDEN_CHANNEL"),
        num_proposals=proposals,
        num_heads=head.number("NUM_HEADS"),
        ffn_channels=head.number("FFN_CHANNEL"),
        nms_kernel=head.number("NMS_KERNEL_SIZE"),
        point_classes=POINT_CLASSES,
        dsvt_compat=True,
    )
    groups: dict[str, tuple[Any, Any]] = {
        "targets": (_targets(head.part("TARGET_ASSIGNER_CONFIG"), stride), TargetSettings()),
        "losses": (_losses(head.part("LOSS_CONFIG")), LossSettings()),
        "decode": (
            _decode(head.part("POST_PROCESSING"), proposals, num_classes),
            DecodeSettings(),
        ),
    }
    head.finish()
    for name, (settings, usual) in groups.items():
        changed = {k: v for k, v in asdict(settings).items() if v != getattr(usual, k)}
        if changed:
            config[name] = changed
    return config


def _check_branches(branches: Settings) -> None:
    branches.only("HEAD_ORDER", list(BOX_BRANCHES))
    outputs = branches.part("HEAD_DICT")
    for name, size in {**BOX_BRANCHES, "iou": 1}.items():
        branch = outputs.part(name)
        branch.only("out_channels", size, optional=False)
        branch.only("num_conv", 2, optional=False)
        branch.finish()
    outputs.finish()
    branches.finish()


def _targets(target: Settings, stride: int) -> TargetSettings:
    target.only("DATASET", "nuScenes", optional=False)
    target.only("FEATURE_MAP_STRIDE", stride)
    assigner = target.part("HUNGARIAN_ASSIGNER")
    cls, reg, iou = (assigner.part(f"{name}_cost") for name in ("cls", "reg", "iou"))
    settings = TargetSettings(
        gaussian_overlap=target.number("GAUSSIAN_OVERLAP"),
        min_radius=int(target.number("MIN_RADIUS")),
        cls_cost=cls.number("weight"),
        reg_cost=reg.number("weight"),
        iou_cost=iou.number("weight"),
        focal_alpha=cls.number("alpha"),
        focal_gamma=cls.number("gamma"),
    )
    for part in (cls, reg, iou, assigner, target):
        part.finish()
    return settings


def _losses(loss: Settings) -> LossSettings:
    cls, weights = loss.part("LOSS_CLS"), loss.part("LOSS_WEIGHTS")
    cls.only("use_sigmoid", True)
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


def _decode(post: Settings, num_proposals: int, num_classes: int) -> DecodeSettings:
    nms = post.part("NMS_CONFIG")
    nms.only("NMS_TYPE", "nms_gpu")
    nms.only("SCORE_THRES", 0.0)
    nms.ignore("NMS_THRESH")
    before = nms.take("NMS_PRE_MAXSIZE", num_proposals)
    if before < num_proposals:
        nms.problem("NMS_PRE_MAXSIZE", f"expected at least {num_proposals} proposals, got {before}")
    settings = DecodeSettings(
        score_thr=post.number("SCORE_THRESH"),
        centre_range_m=tuple(post.numbers("POST_CENTER_RANGE", 6)),
        iou_alpha=_rescoring(post, num_classes),
        nms_classes=POINT_CLASSES,
        nms_iou=NMS_IOU,
        nms_max=int(nms.number("NMS_POST_MAXSIZE")),
    )
    nms.finish()
    post.finish()
    return settings


def _rescoring(post: Settings, num_classes: int) -> float | tuple[float, ...] | None:
    """Exponents of the predicted IoU: one, one for each class, or None without rescoring."""
    alpha = post.take("IOU_RECTIFIER", [])
    if not post.take("USE_IOU_TO_RECTIFY_SCORE", False):
        return None
    alphas = tuple(alpha) if isinstance(alpha, (list, tuple)) else (alpha,)
    if len(alphas) not in (1, num_classes):
        post.problem("IOU_RECTIFIER", f"expected 1 or {num_classes} exponents, got {alpha!r}")
        return None
    return alphas[0] if len(alphas) == 1 else alphas
