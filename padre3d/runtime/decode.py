"""Raw head outputs to boxes in numpy, equal to padre3d/head/decode.py and its rotated NMS."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from padre3d.runtime.grid import Grid
from padre3d.structures.boxes import Detections
from padre3d.structures.decode_settings import DecodeSettings

# The outputs that boxes are made of.
DECODED = (
    *("center", "height", "dim", "rot", "vel", "iou", "heatmap"),
    *("query_heatmap_score", "query_labels"),
)
_GROWTH_M = 1e-9  # see padre3d/head/rotated_iou.py
_TINY = 1e-300


def decode(outputs: Mapping[str, np.ndarray], grid: Grid, settings: DecodeSettings) -> Detections:
    """Boxes of one sample, best first.

    Args:
        outputs: the graph's outputs by name, each with a leading axis of length one.
        grid: the head's map.
        settings: of the export.

    Raises:
        ValueError: if an output is missing, has a wrong shape or holds a number that is not finite.
    """
    check_outputs(outputs)
    raw = {
        name: value[0] if value.dtype.kind == "i" else value[0].astype(np.float32)
        for name, value in outputs.items()
        if name in DECODED
    }
    labels = raw["query_labels"].astype(np.int64)
    boxes, scores = _boxes(raw, grid), _scores(raw, labels)
    limits = np.asarray(settings.centre_range_m, np.float32)
    keep = (scores > settings.score_thr) & np.isfinite(boxes).all(1)
    keep &= (boxes[:, :3] >= limits[:3]).all(1) & (boxes[:, :3] <= limits[3:]).all(1)
    alphas = settings.alphas(raw["heatmap"].shape[1])
    if alphas is not None:
        alpha = np.asarray(alphas, np.float32)[labels]
        iou = np.clip((raw["iou"][:, 0] + 1) / 2, 0, 1)
        scores = scores ** (1 - alpha) * iou**alpha
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    kept = _suppress(boxes, scores, labels, settings)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    return Detections(boxes[order].astype(float), scores[order].astype(float), labels[order])


def check_outputs(outputs: Mapping[str, np.ndarray]) -> None:
    """Refuse what no box can be made of, so that it is not taken for an empty street.

    Raises:
        ValueError: names the output.
    """
    missing = [name for name in DECODED if name not in outputs]
    if missing:
        raise ValueError(f"outputs: expected {', '.join(DECODED)}, got no {', '.join(missing)}")
    for name, value in outputs.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            kind = "NaN" if np.isnan(value).any() else "infinity"
            raise ValueError(f"outputs: expected finite numbers, got {kind} in {name}")
    if outputs["heatmap"].ndim != 3:
        raise ValueError(
            f"outputs: expected heatmap (1, P, classes), got {outputs['heatmap'].shape}"
        )
    _, proposals, classes = outputs["heatmap"].shape
    sizes = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "iou": 1}
    shapes: dict[str, tuple[int, ...]] = {n: (1, proposals, size) for n, size in sizes.items()}
    shapes["heatmap"] = shapes["query_heatmap_score"] = (1, proposals, classes)
    shapes["query_labels"] = (1, proposals)
    for name, shape in shapes.items():
        if outputs[name].shape != shape:
            raise ValueError(f"outputs: expected {name} {shape}, got {outputs[name].shape}")
    labels = outputs["query_labels"]
    if labels.dtype.kind != "i" or not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(f"outputs: expected query_labels from 0 to {classes - 1}, got others")


def rotated_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    iou_thr: float,
    max_kept: int,
    candidates: int | None = None,
) -> np.ndarray:
    """Indices of the kept boxes (K, 9), best first; equal scores keep their order.

    Only the best ``candidates`` are looked at.
    """
    order = np.argsort(-scores, kind="stable")[:candidates]
    overlaps = _overlaps(boxes[order][:, [0, 1, 3, 4, 6]], iou_thr)
    kept: list[int] = []
    for candidate in range(len(overlaps)):
        if len(kept) == max_kept:
            break
        if not overlaps[candidate, kept].any():
            kept.append(candidate)
    return order[np.array(kept, np.int64)]


def iou_bev(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """BEV IoU of rectangles (..., 5) x, y, length, width, yaw; shapes broadcast. Float64."""
    a, b = (np.array(x, np.float64) for x in np.broadcast_arrays(a, b))
    for box in (a, b):
        np.maximum(box[..., 2:4], 0, out=box[..., 2:4])
    area_a, area_b = (box[..., 2] * box[..., 3] for box in (a, b))
    b[..., 2:4] += 2 * _GROWTH_M
    start, edge = _edges_in_frame(a, b)
    cross = start[..., 0] * edge[..., 1] - start[..., 1] * edge[..., 0]
    of_a = (_share_inside(start, edge, b) * cross).sum(-1)
    of_b = _share_inside(*_edges_in_frame(b, a), a).sum(-1) * b[..., 2] * b[..., 3] / 2
    smaller = np.minimum(area_a, area_b)
    overlap = np.minimum(np.maximum((of_a + of_b) / 2, 0), smaller)
    return np.clip(np.nan_to_num(overlap / np.maximum(area_a + area_b - overlap, 1e-12)), 0, 1)


def _overlaps(bev: np.ndarray, iou_thr: float) -> np.ndarray:
    """Whether rectangle i (K, K) of (K, 5) overlaps rectangle j < i by more than the threshold.

    Only of those whose circles meet the overlap is computed; that of the others is nothing.
    """
    reach_m = np.hypot(*np.maximum(bev[:, 2:4], 0).T) / 2 + _GROWTH_M
    x, y = bev[:, :2].T
    distance_m = np.hypot(x[:, None] - x, y[:, None] - y)
    later, earlier = np.nonzero(np.tril(distance_m <= reach_m[:, None] + reach_m, -1))
    overlaps = np.full(distance_m.shape, iou_thr < 0)
    overlaps[later, earlier] = iou_bev(bev[later], bev[earlier]) > iou_thr
    return overlaps


def _boxes(raw: Mapping[str, np.ndarray], grid: Grid) -> np.ndarray:
    """(P, 9) float32 x, y, z (gravity centre), length, width, height, yaw, vx, vy."""
    with np.errstate(over="ignore"):
        size = np.exp(raw["dim"])
    low, cell = (np.asarray(v, np.float32) for v in (grid.range_m[:2], grid.cell_m))
    xy = raw["center"] * cell + low
    z = raw["height"] - size[:, 2:] / 2
    yaw = np.arctan2(raw["rot"][:, :1], raw["rot"][:, 1:])
    return np.concatenate([xy, z, size, yaw, raw["vel"]], 1)


def _scores(raw: Mapping[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    rows = np.arange(len(labels))
    with np.errstate(over="ignore"):
        probability = 1 / (1 + np.exp(-raw["heatmap"][rows, labels]))
    return probability * raw["query_heatmap_score"][rows, labels]


def _suppress(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, settings: DecodeSettings
) -> np.ndarray:
    """Rows that stay after the NMS of the classes that ask for it, ascending."""
    keep = np.ones(len(labels), bool)
    for label in settings.nms_classes:
        of_class = labels == label
        keep[of_class] = False
        # Scores of at least 0 all pass a threshold of 0.
        rows = np.flatnonzero(of_class & (scores >= settings.nms_score_thr))
        compared = boxes[rows]
        if not settings.nms_rotated:
            compared[:, 6] = 0
        kept = rotated_nms(
            compared, scores[rows], settings.nms_iou, settings.nms_max, settings.nms_pre
        )
        keep[rows[kept]] = True
    return np.flatnonzero(keep)


def _edges_in_frame(box: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (..., 4, 2) of ``box`` and the edges from them, in the axes of ``frame``."""
    shift = box[..., :2] - frame[..., :2]
    cos_f, sin_f = np.cos(frame[..., 4]), np.sin(frame[..., 4])
    x = shift[..., 0] * cos_f + shift[..., 1] * sin_f
    y = shift[..., 1] * cos_f - shift[..., 0] * sin_f
    turn = (box[..., 4] - frame[..., 4])[..., None]
    along = box[..., 2:3] / 2 * np.array([1, -1, -1, 1])
    across = box[..., 3:4] / 2 * np.array([1, 1, -1, -1])
    corners = np.stack(
        [
            x[..., None] + along * np.cos(turn) - across * np.sin(turn),
            y[..., None] + along * np.sin(turn) + across * np.cos(turn),
        ],
        -1,
    )
    return corners, np.roll(corners, -1, -2) - corners


def _share_inside(start: np.ndarray, edge: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Share (..., 4) in 0..1 of each edge inside the rectangle that owns the axes."""
    half = frame[..., None, 2:4] / 2
    edge = np.where(edge == 0, _TINY, edge)
    with np.errstate(over="ignore"):
        at_low, at_high = (-half - start) / edge, (half - start) / edge
    enter = np.maximum(np.minimum(at_low, at_high).max(-1), 0)
    leave = np.minimum(np.maximum(at_low, at_high).min(-1), 1)
    return np.maximum(leave - enter, 0)
