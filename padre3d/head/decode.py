"""From raw head outputs to detections."""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.head.box_coding import decode_boxes
from padre3d.head.nms import rotated_nms
from padre3d.head.outputs import HeadOutputs
from padre3d.head.settings import DecodeSettings
from padre3d.structures.boxes import Detections
from padre3d.structures.constants import constants
from padre3d.structures.grid import PillarGrid


def box_codes(outputs: HeadOutputs) -> Tensor:
    """The box branches side by side: (B, P, 10) in float32."""
    parts = (outputs.center, outputs.height, outputs.dim, outputs.rot, outputs.vel)
    return torch.cat([part.float() for part in parts], -1)


def proposal_scores(outputs: HeadOutputs) -> Tensor:
    """Score (B, P): class probability times heatmap probability, both of the query's class."""
    scores = outputs.heatmap.float().sigmoid() * outputs.query_heatmap_score.float()
    return scores.gather(2, outputs.query_labels[..., None]).squeeze(2)


def decode_detections(
    outputs: HeadOutputs, grid: PillarGrid, settings: DecodeSettings
) -> list[Detections]:
    """Boxes, filters, IoU rescoring and NMS, in this order; proposals keep their order.

    The rescored value is ``score^(1-a) * iou^a`` with the predicted IoU mapped back to 0..1 and a
    per class.

    Raises:
        ValueError: if an output holds a number that is not finite.
    """
    check_finite(outputs)
    boxes, scores = decode_boxes(box_codes(outputs), grid), proposal_scores(outputs)
    limits = constants(settings.centre_range_m, boxes)
    centres = boxes[..., :3]
    keep = (scores > settings.score_thr) & torch.isfinite(boxes).all(-1)
    keep &= (centres >= limits[:3]).all(-1) & (centres <= limits[3:]).all(-1)
    alphas = settings.alphas(outputs.heatmap.shape[2])
    if alphas is not None:
        alpha = constants(alphas, boxes)[outputs.query_labels]
        iou = ((outputs.iou.float().squeeze(2) + 1) / 2).clamp(0, 1)
        scores = scores ** (1 - alpha) * iou**alpha
    return [
        _suppress(Detections(box, score, label).select(_rows(mask)), settings)
        for box, score, label, mask in zip(boxes, scores, outputs.query_labels, keep, strict=True)
    ]


def check_finite(outputs: HeadOutputs) -> None:
    """Refuse NaN and infinity, so that a broken network is not taken for an empty street.

    Raises:
        ValueError: names the output.
    """
    floats = {name: v for name, v in outputs._asdict().items() if v.is_floating_point()}
    if torch.cat([value.flatten() for value in floats.values()]).isfinite().all():
        return
    name, value = next((n, v) for n, v in floats.items() if not v.isfinite().all())
    kind = "NaN" if value.isnan().any() else "infinity"
    raise ValueError(f"outputs: expected finite numbers, got {kind} in {name}")


def _suppress(detections: Detections, settings: DecodeSettings) -> Detections:
    """NMS of the classes that ask for it; the order stays."""
    keep = torch.ones_like(detections.labels, dtype=torch.bool)
    for label in settings.nms_classes:
        of_class = detections.labels == label
        rows = _rows(of_class)
        if len(rows) == 0:
            continue
        keep.index_fill_(0, rows, False)
        if settings.nms_score_thr > 0:  # at 0 nothing is below, and nobody waits for the mask
            rows = _rows(of_class & (detections.scores >= settings.nms_score_thr))
        boxes = detections.boxes[rows]
        if not settings.nms_rotated:
            boxes[:, 6] = 0
        kept = rotated_nms(
            boxes, detections.scores[rows], settings.nms_iou, settings.nms_max, settings.nms_pre
        )
        keep.index_fill_(0, rows[kept], True)
    return detections.select(_rows(keep))


def _rows(mask: Tensor) -> Tensor:
    """Row numbers of a mask (N,): as an index it would be counted anew for each tensor."""
    return mask.nonzero().squeeze(1)
