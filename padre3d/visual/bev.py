"""Bird's-eye-view pictures: points, boxes with headings, classes, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.structures.boxes import Detections, box_arrays
from padre3d.visual.raster import rasterise
from padre3d.visual.sheet import NUSCENES_LABELS, Sheet
from padre3d.visual.style import GROUND_TRUTH_INK, WITHOUT_HEADING, class_colours

MAP_PX = 1400
# Smaller maps in the pair: the writing stays readable where the picture is shown at half size.
PAIR_MAP_PX = 1000
# A lone point stays visible.
PIXELS_PER_CELL = 2
NOSE_M = 0.8
DASHES = (0, (1.5, 1.1))


def box_outlines(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of boxes from above.

    Args:
        boxes: (K, >= 7) rows (x, y, z, length, width, height, yaw, ...).

    Returns:
        ``(K, 4, 2)`` corners in metres (front left, rear left, rear right, front right) and
        ``(K, 2, 2)`` heading marks: from the centre to a little beyond the front.
    """
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    forward, left = np.stack([cos, sin], 1), np.stack([-sin, cos], 1)
    half_length, half_width = boxes[:, 3:4] / 2, boxes[:, 4:5] / 2
    centre = boxes[:, :2]
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    corners = [centre + a * half_length * forward + b * half_width * left for a, b in signs]
    nose = centre + (half_length + NOSE_M) * forward
    return np.stack(corners, 1), np.stack([centre, nose], 1)


def boxes_in_view(boxes: np.ndarray, range_m: float) -> np.ndarray:
    """Which (K,) of the boxes (K, >= 7) reach into the square of half side ``range_m``."""
    corners, _ = box_outlines(boxes)
    return ((corners.min(1) <= range_m) & (corners.max(1) >= -range_m)).all(axis=1)


def draw_bev(
    points: np.ndarray,
    boxes: Any,
    labels: Any,
    scores: Any,
    class_names: Sequence[str],
    *,
    path: str | Path,
    gt: Detections | None = None,
    range_m: float = 54.0,
    title: str = "",
    score_labels: bool = True,
    axis_labels: tuple[str, str] = NUSCENES_LABELS,
    forward_rad: float = np.pi / 2,
) -> None:
    """Write a picture (PNG, 1600 x 1715 px) of one frame.

    Args:
        points: (P, >= 3) points in metres.
        boxes: (K, 9) boxes as :class:`padre3d.structures.boxes.Detections` holds them.
        labels: (K,) class of each box.
        scores: (K,) scores, or None for annotated boxes, which get no score label.
        class_names: the names the labels count.
        path: where to write.
        gt: annotated boxes, drawn as dashed white outlines.
        range_m: half the side of the square shown.
        title: a line above the map.
        score_labels: whether to write the score beside each box.
        axis_labels: what x and y are in the frame of points and boxes.
        forward_rad: direction of forward in that frame, counter-clockwise from +x.

    Raises:
        ValueError: if the boxes are not as :func:`~padre3d.structures.boxes.box_arrays` wants them
            or the range is not positive.
    """
    with_scores = score_labels and scores is not None
    scores = np.ones(len(labels)) if scores is None else scores
    shown = box_arrays(Detections(boxes, scores, labels), class_names)
    annotated = None if gt is None else box_arrays(gt, class_names)
    sheet = Sheet(1, MAP_PX, range_m)
    axes = sheet.add_map(0, title, axis_labels, forward_rad)
    _draw_map(sheet, axes, 0, points, shown, class_names, annotated, with_scores)
    sheet.add_height_bar()
    sheet.save(path)


def draw_bev_pair(
    points: np.ndarray,
    predicted: Detections,
    annotated: Detections,
    class_names: Sequence[str],
    *,
    path: str | Path,
    range_m: float = 54.0,
    titles: tuple[str, str] = ("Detections", "Ground truth"),
    score_labels: bool = False,
) -> None:
    """Write detections (left) and annotated boxes (right) of one frame side by side.

    Args:
        points: (P, >= 3) points in metres.
        predicted: detected boxes.
        annotated: annotated boxes.
        class_names: the names the labels count.
        path: where to write (PNG, 2400 x 1315 px).
        range_m: half the side of the square shown.
        titles: the lines above the two maps.
        score_labels: whether to write the score beside each detected box.

    Raises:
        ValueError: as :func:`draw_bev`.
    """
    sheet = Sheet(2, PAIR_MAP_PX, range_m)
    for column, boxes in enumerate((predicted, annotated)):
        shown = box_arrays(boxes, class_names)
        with_scores = score_labels and column == 0
        axes = sheet.add_map(column, titles[column])
        _draw_map(sheet, axes, column, points, shown, class_names, None, with_scores)
    sheet.add_height_bar()
    sheet.save(path)


def _draw_map(
    sheet: Sheet,
    axes: Any,
    column: int,
    points: np.ndarray,
    shown: Detections,
    class_names: Sequence[str],
    annotated: Detections | None,
    with_scores: bool,
) -> None:
    """One map with everything on it; only boxes that reach into the view are drawn and counted."""
    limit = sheet.range_m
    axes.imshow(
        rasterise(points, limit, sheet.map_px // PIXELS_PER_CELL),
        extent=(-limit, limit, -limit, limit),
        origin="lower",
        interpolation="nearest",
        zorder=1,
    )
    shown = _visible(shown, limit)
    _draw_boxes(axes, shown, class_names)
    if with_scores:
        _write_scores(axes, shown, class_names, limit)
    if annotated is not None:
        annotated = _visible(annotated, limit)
        _draw_dashed(axes, annotated, class_names)
    sheet.add_legend(column, _legend_handles(shown, class_names, annotated))


def _visible(boxes: Detections, range_m: float) -> Detections:
    keep = boxes_in_view(boxes.boxes, range_m)
    return boxes.select(keep)


def _draw_boxes(axes: Any, shown: Detections, class_names: Sequence[str]) -> None:
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.colors import to_rgba_array

    colours = to_rgba_array(class_colours(class_names))[shown.labels]
    faces = colours * (1, 1, 1, 0.18)
    corners, marks = box_outlines(shown.boxes)
    headed = _with_heading(shown, class_names)
    axes.add_collection(
        PolyCollection(
            list(corners), facecolors=faces, edgecolors=colours, linewidths=1.3, zorder=4
        )
    )
    axes.add_collection(
        LineCollection(marks[headed], colors=colours[headed], linewidths=1.3, zorder=4)
    )


def _write_scores(axes: Any, shown: Detections, class_names: Sequence[str], range_m: float) -> None:
    palette = class_colours(class_names)
    corners, _ = box_outlines(shown.boxes)
    for corner, score, label in zip(corners.max(1), shown.scores, shown.labels, strict=True):
        if (np.abs(corner) < range_m).all():
            axes.annotate(
                f"{score:.2f}",
                corner,
                xytext=(1.5, 0.5),
                textcoords="offset points",
                color=palette[label],
                fontsize=5.5,
                zorder=5,
            )


def _draw_dashed(axes: Any, annotated: Detections, class_names: Sequence[str]) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    corners, marks = box_outlines(annotated.boxes)
    marks = marks[_with_heading(annotated, class_names)]
    # Below the detections: what stays white was missed.
    style: dict[str, Any] = {"linewidths": 0.9, "zorder": 3.5}
    axes.add_collection(
        PolyCollection(
            list(corners),
            facecolors="none",
            edgecolors=GROUND_TRUTH_INK,
            linestyles=DASHES,
            **style,
        )
    )
    axes.add_collection(LineCollection(marks, colors=GROUND_TRUTH_INK, **style))


def _with_heading(shown: Detections, class_names: Sequence[str]) -> np.ndarray:
    headed = np.array([name not in WITHOUT_HEADING for name in class_names])
    return headed[shown.labels]


def _legend_handles(
    shown: Detections, class_names: Sequence[str], annotated: Detections | None
) -> list[Any]:
    """Classes with the number of their boxes; ``a / b`` where b are the annotated ones."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    counts = np.bincount(shown.labels, minlength=len(class_names))
    true_counts = np.zeros_like(counts)
    if annotated is not None:
        true_counts = np.bincount(annotated.labels, minlength=len(class_names))
    handles: list[Any] = []
    for row, (name, colour) in enumerate(zip(class_names, class_colours(class_names), strict=True)):
        if counts[row] or true_counts[row]:
            amount = str(counts[row])
            amount += f" / {true_counts[row]}" if annotated is not None else ""
            label = f"{name.replace('_', ' ')}  {amount}"
            handles.append(Patch(facecolor=colour + "40", edgecolor=colour, label=label))
    if annotated is not None:
        label = f"/ ground truth  {len(annotated.labels)}"
        handles.append(Line2D([], [], color=GROUND_TRUTH_INK, linestyle=DASHES, label=label))
    return handles or [Line2D([], [], color="none", label="no boxes")]
