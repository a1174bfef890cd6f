"""The TransFusion-style head: heatmap, proposals, one local decoder layer, branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.checks import check_shape, renamed_arguments
from padre3d.head.box_coding import decode_boxes, lift
from padre3d.head.branches import PredictionBranches
from padre3d.head.decode import box_codes, decode_detections
from padre3d.head.decoder import LocalDecoderLayer
from padre3d.head.outputs import HeadOutputs
from padre3d.head.queries import MAX_TOPK, ProposalSelector
from padre3d.head.rotated_iou import aligned_iou_3d
from padre3d.head.settings import DecodeSettings, LossSettings, TargetSettings, decode_settings
from padre3d.head.training.losses import (
    box_l1_loss,
    gaussian_focal_loss,
    iou_l1_loss,
    sigmoid_focal_loss,
)
from padre3d.head.training.targets import Targets, build_targets, check_ground_truth
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES, labels_of, point_labels
from padre3d.structures.grid import PillarGrid


class PADReTransFusionHead(nn.Module):
    """Boxes from a bird's-eye-view map (Bai et al., TransFusion, 2022; LiDAR branch).

    Args:
        grid: grid of the *head's* map, or its settings ``dict(range_m=..., cell_m=...)``.
        in_channels: channels of the map.
        num_classes: classes.
        class_names: their names, for the settings that go by name; default: nuScenes' ten for ten
            classes, else the numbers of the labels.
        channels: width of the head, a multiple of ``num_heads``.
        num_proposals: P.
        num_heads, ffn_channels: of the decoder layer.
        activation: of the decoder layer's feed-forward part, "relu" or "gelu".
        dropout: probability in the decoder layer, in training.
        branch_channels: hidden width of the prediction branches.
        branch_layers: linear layers of a prediction branch by its name; 2 for those not named.
        iou_branch: whether the IoU of a box is predicted; without it there is no loss of it and
            no rescoring (``decode=dict(iou_alpha=None)``), and the output is 0.
        bn_momentum: of all batch normalisations.
        local_radius: a proposal attends to the (2 * local_radius + 1)^2 cells around it.
        window_offsets: (y, x) offsets of those of them that it attends to; None: all. A checkpoint
            of tools/prune_window.py brings its own.
        nms_kernel: odd side of the neighbourhood in which a heatmap value must be the largest.
        point_classes: names or labels of classes as small as a cell, without that neighbourhood;
            default: pedestrian and traffic_cone where the class list has them.
        dense_heatmap_bias: initial bias of the dense heatmap; None keeps the default
            initialisation, as the reference does; -2.19 starts at a probability of 0.1.
        targets, losses, decode: settings or dicts of them.
        dsvt_compat: reproduce the reference implementation where ours differs on purpose, see
            :mod:`padre3d.head`.
        **old_names: ``reference``, the former name of dsvt_compat.

    Raises:
        ValueError: for settings that contradict each other.
    """

    code_weights: Tensor

    def __init__(
        self,
        grid: PillarGrid | Mapping[str, Any],
        in_channels: int = 384,
        num_classes: int = 10,
        channels: int = 128,
        num_proposals: int = 200,
        num_heads: int = 8,
        ffn_channels: int = 256,
        branch_channels: int = 64,
        local_radius: int = 20,
        nms_kernel: int = 3,
        point_classes: Sequence[int | str] | None = None,
        dense_heatmap_bias: float | None = None,
        targets: TargetSettings | Mapping[str, Any] | None = None,
        losses: LossSettings | Mapping[str, Any] | None = None,
        decode: DecodeSettings | Mapping[str, Any] | None = None,
        dsvt_compat: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        branch_layers: Mapping[str, int] | None = None,
        iou_branch: bool = True,
        bn_momentum: float = 0.1,
        class_names: Sequence[str] | None = None,
        window_offsets: Sequence[Sequence[int]] | None = None,
        **old_names: Any,
    ) -> None:
        super().__init__()
        renamed = renamed_arguments(old_names, {"reference": "dsvt_compat"})
        dsvt_compat = renamed.get("dsvt_compat", dsvt_compat)
        self.grid = grid if isinstance(grid, PillarGrid) else PillarGrid(**grid)
        self.in_channels, self.num_classes, self.dsvt_compat = in_channels, num_classes, dsvt_compat
        self.target_settings = _settings(TargetSettings, targets)
        self.loss_settings = _settings(LossSettings, losses)
        names = _names(class_names, num_classes)
        self.decode_settings = decode_settings(decode, self.grid, names)
        self._check_settings(channels, num_heads, num_proposals, nms_kernel)
        if not iou_branch and self.decode_settings.iou_alpha is not None:
            raise ValueError(
                "PADReTransFusionHead: expected decode.iou_alpha=None without an iou_branch, got "
                f"{self.decode_settings.iou_alpha}"
            )
        if point_classes is None:
            point_classes = point_labels(names)

        self.shared_conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.heatmap_head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, num_classes, 3, padding=1),
        )
        if dense_heatmap_bias is not None:
            last = self.heatmap_head[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.constant_(last.bias, dense_heatmap_bias)
        code_weights = torch.tensor(self.loss_settings.code_weights)
        self.register_buffer("code_weights", code_weights, persistent=False)
        self.selector = ProposalSelector(
            self.grid,
            num_classes,
            num_proposals,
            nms_kernel,
            labels_of(point_classes, names, "point_classes"),
            dsvt_compat,
        )
        self.class_embedding = nn.Linear(num_classes, channels)
        self.decoder = LocalDecoderLayer(
            self.grid,
            channels,
            num_heads,
            ffn_channels,
            local_radius,
            dsvt_compat,
            activation,
            dropout,
            window_offsets,
        )
        self.branches = PredictionBranches(
            channels, num_classes, branch_channels, branch_layers, iou_branch
        )
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = bn_momentum

    def _check_settings(
        self, channels: int, num_heads: int, num_proposals: int, nms_kernel: int
    ) -> None:
        most = min(MAX_TOPK, self.num_classes * self.grid.num_cells)
        for fine, expected, got in (
            (channels % num_heads == 0, f"channels divisible by {num_heads} heads", channels),
            (nms_kernel % 2 == 1, "an odd nms_kernel", nms_kernel),
            (0 < num_proposals <= most, f"1..{most} proposals", num_proposals),
        ):
            if not fine:
                raise ValueError(f"PADReTransFusionHead: expected {expected}, got {got}")
        self.decode_settings.alphas(self.num_classes)

    def forward(self, bev: Tensor) -> HeadOutputs:
        """A map (B, in_channels, y, x) to raw predictions.

        Raises:
            ValueError: if the map has other channels or another size.
        """
        shape = f"B {self.in_channels} {self.grid.ny} {self.grid.nx}"
        check_shape(bev, shape, name="PADReTransFusionHead input (B, C, y, x)")
        features = self.shared_conv(bev)
        dense = self.heatmap_head(features).float()
        labels, cells, scores = self.selector(dense)
        # A copy, so that the windows gather whole rows of memory: several times faster.
        rows = features.flatten(2).transpose(1, 2).contiguous()
        query = rows.gather(1, cells[..., None].expand(-1, -1, rows.shape[2]))
        query = query + F.embedding(labels, self.class_embedding.weight.t())
        query = self.decoder(query + self.class_embedding.bias, rows, cells)
        predictions = self.branches(query)
        position = F.embedding(cells, self.decoder.positions).float()
        predictions["center"] = predictions["center"] + position
        if "iou" not in predictions:
            # Of the graph, not a constant: not every runtime lets a graph give out a constant.
            predictions["iou"] = predictions["height"].detach() * 0.0
        return HeadOutputs(
            **predictions,
            query_heatmap_score=scores,
            dense_heatmap=dense,
            query_labels=labels,
            query_pos=position,
        )

    @torch.no_grad()
    def targets(
        self, outputs: HeadOutputs, gt_boxes: Sequence[Tensor], gt_labels: Sequence[Tensor]
    ) -> Targets:
        """Training targets of a batch; arguments and errors as :meth:`loss`."""
        check_ground_truth(gt_boxes, gt_labels, len(outputs.center), self.num_classes)
        return build_targets(
            decode_boxes(box_codes(outputs), self.grid),
            outputs.heatmap.float(),
            [boxes.float() for boxes in gt_boxes],
            [labels.long() for labels in gt_labels],
            self.grid,
            self.target_settings,
            lifted=self.dsvt_compat,
        )

    def loss(
        self, outputs: HeadOutputs, gt_boxes: Sequence[Tensor], gt_labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Weighted losses of a batch.

        Args:
            outputs: of :meth:`forward`.
            gt_boxes: per sample (M_b, 9) x, y, z (gravity centre), length, width, height, yaw, vx,
                vy in metres, radians and m/s; M_b may be 0, an unknown velocity is NaN.
            gt_labels: per sample (M_b,) class indices.

        Returns:
            ``loss_heatmap``, ``loss_cls``, ``loss_bbox``, ``loss_iou`` (with an IoU branch), and
            ``matched_iou``, the mean IoU of matched proposals, which is a figure to watch, not a
            loss.

        Raises:
            ValueError: for boxes or labels the losses are not defined for.
        """
        targets = self.targets(outputs, gt_boxes, gt_labels)
        weights = self.loss_settings
        codes = box_codes(outputs)
        code_weights = targets.weights * self.code_weights.float()
        matches = max(targets.num_matched, 1)
        cls = sigmoid_focal_loss(
            outputs.heatmap.float(), targets.labels, weights.focal_alpha, weights.focal_gamma
        )
        heatmap = gaussian_focal_loss(outputs.dense_heatmap.float(), targets.heatmap)
        bbox = box_l1_loss(codes, targets.codes, code_weights)
        losses = {
            "loss_heatmap": heatmap * weights.heatmap,
            "loss_cls": cls / matches * weights.cls,
            "loss_bbox": bbox / matches * weights.bbox,
        }
        if "iou" in self.branches:
            iou = iou_l1_loss(outputs.iou.float().squeeze(2), self._matched_iou(codes, targets))
            losses["loss_iou"] = iou * weights.iou
        return {**losses, "matched_iou": targets.matched_iou}

    @torch.no_grad()
    def _matched_iou(self, codes: Tensor, targets: Targets) -> Tensor:
        """IoU (B, P) of each proposal with its box, 0 where it has none."""
        boxes, wanted = (decode_boxes(c.detach(), self.grid) for c in (codes, targets.codes))
        if self.dsvt_compat:
            boxes, wanted = lift(boxes), lift(wanted)
        return aligned_iou_3d(boxes, wanted) * (targets.matched >= 0)

    @torch.no_grad()
    def predict(self, outputs: HeadOutputs, score_thr: float | None = None) -> list[Detections]:
        """Detections of each sample, in the order of the proposals.

        Args:
            outputs: of :meth:`forward`.
            score_thr: replaces that of the settings.
        """
        settings = self.decode_settings
        if score_thr is not None:
            settings = replace(settings, score_thr=score_thr)
        return decode_detections(outputs, self.grid, settings)


def _names(class_names: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    """Names of the labels, whatever is known of them."""
    if class_names is None:
        usual = num_classes == len(NUSCENES_CLASSES)
        return NUSCENES_CLASSES if usual else tuple(map(str, range(num_classes)))
    if len(class_names) != num_classes or len(set(class_names)) != num_classes:
        raise ValueError(
            f"PADReTransFusionHead: expected {num_classes} different class_names, "
            f"got {list(class_names)}"
        )
    return tuple(class_names)


def _settings(kind: type, given: Any) -> Any:
    """Settings as they are, or built from a dict; None means the defaults."""
    return given if isinstance(given, kind) else kind(**(given or {}))
