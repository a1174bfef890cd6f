"""Bird's-eye-view pictures: points, boxes with headings, classes, ranges.

The nuScenes LiDAR frame has x to the right and y forward, so plain axes show forward upwards.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.results import BoxArrays, box_arrays, write_atomic
from padre3d.visual.raster import rasterise
from padre3d.visual.style import (
    BACKGROUND,
    GRID,
    HEIGHT_RAMP,
    HEIGHT_RANGE_M,
    INK,
    MUTED,
    class_colours,
)

DPI = 200
MAP_PX = 1400
# Two pixels a cell: a lone point stays visible.
CELLS = MAP_PX // 2
LEFT_PX, RIGHT_PX, BOTTOM_PX, TOP_PX = 125, 75, 215, 100
NOSE_M = 0.8
GROUND_TRUTH_INK = "#ffffff"
DASHES = (0, (1.5, 1.1))
# nuScenes scores no heading of cones and none but the line of barriers.
WITHOUT_HEADING = ("barrier", "traffic_cone")


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


def draw_bev(
    points: np.ndarray,
    boxes: Any,
    labels: Any,
    scores: Any,
    class_names: Sequence[str],
    *,
    path: str | Path,
    gt: BoxArrays | None = None,
    range_m: float = 54.0,
    title: str = "",
    score_labels: bool = True,
) -> None:
    """Write a picture (PNG, 1600 x 1715 px) of one frame.

    Args:
        points: (P, >= 3) points in metres.
        boxes: (K, 9) boxes as :class:`padre3d.results.BoxArrays` holds them.
        labels: (K,) class of each box.
        scores: (K,) scores, or None for annotated boxes, which get no score label.
        class_names: the names the labels count.
        path: where to write.
        gt: annotated boxes, drawn as dashed white outlines.
        range_m: half the side of the square shown.
        title: a line above the map.
        score_labels: whether to write the score beside each box.

    Raises:
        ValueError: if the boxes are not as :func:`padre3d.results.box_arrays` wants them or the
            range is not positive.
    """
    shown = _as_boxes(boxes, labels, scores, class_names)
    figure = _figure(1)
    axes = _add_map(figure, 0, range_m, title)
    _draw_points(axes, points, range_m)
    _draw_boxes(axes, shown, class_names, range_m, score_labels and scores is not None)
    if gt is not None:
        _draw_dashed(axes, box_arrays(gt, class_names), class_names)
    _add_legend(figure, axes, shown, class_names, range_m, gt)
    _add_height_bar(figure)
    _save(figure, path)


def draw_bev_pair(
    points: np.ndarray,
    predicted: BoxArrays,
    annotated: BoxArrays,
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
        path: where to write.
        range_m: half the side of the square shown.
        titles: the lines above the two maps.
        score_labels: whether to write the score beside each detected box.

    Raises:
        ValueError: as :func:`draw_bev`.
    """
    figure = _figure(2)
    for place, boxes in enumerate((predicted, annotated)):
        shown = box_arrays(boxes, class_names)
        axes = _add_map(figure, place, range_m, titles[place])
        _draw_points(axes, points, range_m)
        _draw_boxes(axes, shown, class_names, range_m, score_labels and place == 0)
        _add_legend(figure, axes, shown, class_names, range_m, None)
    _add_height_bar(figure)
    _save(figure, path)


def _as_boxes(boxes: Any, labels: Any, scores: Any, class_names: Sequence[str]) -> BoxArrays:
    if scores is None:
        scores = np.ones(len(labels))
    return box_arrays(BoxArrays(boxes, scores, labels), class_names)


def _figure(maps: int) -> Any:
    """An empty figure that belongs to no window system."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from error
    width = maps * (LEFT_PX + MAP_PX + RIGHT_PX)
    height = BOTTOM_PX + MAP_PX + TOP_PX
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    return figure


def _add_map(figure: Any, place: int, range_m: float, title: str) -> Any:
    """An empty map with range rings, the ego marker and axes in metres."""
    if not range_m > 0:
        raise ValueError(f"range_m: expected a positive number, got {range_m}")
    width, height = figure.get_size_inches() * DPI
    left = place * (LEFT_PX + MAP_PX + RIGHT_PX) + LEFT_PX
    axes = figure.add_axes(
        (left / width, BOTTOM_PX / height, MAP_PX / width, MAP_PX / height), facecolor=BACKGROUND
    )
    axes.set(xlim=(-range_m, range_m), ylim=(-range_m, range_m))
    step = _ring_step_m(range_m)
    ticks = np.arange(-int(range_m / step), int(range_m / step) + 1) * step
    axes.set(xticks=ticks, yticks=ticks)
    axes.tick_params(colors=MUTED, labelsize=8, length=3)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    axes.set_xlabel("x, right (m)", color=MUTED, fontsize=8, labelpad=2)
    axes.set_ylabel("y, forward (m)", color=MUTED, fontsize=8, labelpad=0)
    axes.set_title(title, color=INK, fontsize=11, loc="left", pad=8)
    _draw_rings(axes, ticks[ticks > 0])
    axes.plot([0], [0], marker=(3, 0, 0), markersize=8, color=INK, zorder=6)
    return axes


def _ring_step_m(range_m: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... m that gives at most seven rings."""
    scale = 10.0 ** np.floor(np.log10(range_m / 7))
    return next(float(scale * k) for k in (1, 2, 5, 10) if range_m / (scale * k) < 7)


def _draw_rings(axes: Any, radii_m: np.ndarray) -> None:
    from matplotlib.patches import Circle

    diagonal = np.sqrt(0.5)
    for radius in radii_m:
        axes.add_patch(Circle((0, 0), radius, fill=False, color=GRID, linewidth=0.8, zorder=0.5))
        axes.text(
            radius * diagonal,
            radius * diagonal,
            f"{radius:g} m",
            color=MUTED,
            fontsize=7,
            ha="center",
            va="center",
            zorder=3,
            bbox={"facecolor": BACKGROUND, "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
        )


def _draw_points(axes: Any, points: np.ndarray, range_m: float) -> None:
    axes.imshow(
        rasterise(points, range_m, CELLS),
        extent=(-range_m, range_m, -range_m, range_m),
        origin="lower",
        interpolation="nearest",
        zorder=1,
    )


def _draw_boxes(
    axes: Any,
    shown: BoxArrays,
    class_names: Sequence[str],
    range_m: float,
    score_labels: bool,
) -> None:
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.colors import to_rgba

    if not len(shown.boxes):
        return
    palette = class_colours(class_names)
    colours = [palette[label] for label in shown.labels]
    corners, marks = box_outlines(shown.boxes)
    faces = [to_rgba(colour, 0.18) for colour in colours]
    axes.add_collection(
        PolyCollection(corners, facecolors=faces, edgecolors=colours, linewidths=1.3, zorder=4)
    )
    headed = _with_heading(shown, class_names)
    axes.add_collection(
        LineCollection(
            marks[headed], colors=list(np.array(colours)[headed]), linewidths=1.3, zorder=4
        )
    )
    if not score_labels:
        return
    inside = _in_view(shown.boxes, range_m)
    for row in np.flatnonzero(inside):
        axes.annotate(
            f"{shown.scores[row]:.2f}",
            (corners[row, :, 0].max(), corners[row, :, 1].max()),
            xytext=(1.5, 0.5),
            textcoords="offset points",
            color=colours[row],
            fontsize=5.5,
            zorder=5,
            annotation_clip=True,
        )


def _draw_dashed(axes: Any, annotated: BoxArrays, class_names: Sequence[str]) -> None:
    from matplotlib.collections import LineCollection, PolyCollection

    if not len(annotated.boxes):
        return
    corners, marks = box_outlines(annotated.boxes)
    # Below the detections: what stays white was missed.
    style = {"linewidths": 0.9, "zorder": 3.5}
    axes.add_collection(
        PolyCollection(
            corners, facecolors="none", edgecolors=GROUND_TRUTH_INK, linestyles=DASHES, **style
        )
    )
    marks = marks[_with_heading(annotated, class_names)]
    axes.add_collection(LineCollection(marks, colors=GROUND_TRUTH_INK, **style))


def _with_heading(shown: BoxArrays, class_names: Sequence[str]) -> np.ndarray:
    headed = np.array([name not in WITHOUT_HEADING for name in class_names])
    return headed[shown.labels]


def _in_view(boxes: np.ndarray, range_m: float) -> np.ndarray:
    return (np.abs(boxes[:, :2]) <= range_m).all(axis=1)


def _add_legend(
    figure: Any,
    axes: Any,
    shown: BoxArrays,
    class_names: Sequence[str],
    range_m: float,
    gt: BoxArrays | None,
) -> None:
    """Classes with the number of their boxes in view, below the map."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    visible = shown.labels[_in_view(shown.boxes, range_m)]
    counts = np.bincount(visible, minlength=len(class_names))
    handles: list[Any] = [
        Patch(facecolor=colour + "40", edgecolor=colour, label=f"{name.replace('_', ' ')}  {count}")
        for name, colour, count in zip(class_names, class_colours(class_names), counts, strict=True)
        if count
    ]
    if gt is not None:
        total = int(_in_view(np.asarray(gt.boxes), range_m).sum())
        label = f"ground truth  {total}"
        handles.append(Line2D([], [], color=GROUND_TRUTH_INK, ls=DASHES, label=label))
    if not handles:
        handles.append(Line2D([], [], color="none", label="no boxes"))
    box = axes.get_position()
    figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=((box.x0 + box.x1) / 2, 118 / (BOTTOM_PX + MAP_PX + TOP_PX)),
        ncol=4,
        frameon=False,
        labelcolor=INK,
        fontsize=8,
        columnspacing=1.6,
        handlelength=1.5,
        labelspacing=0.35,
    )


def _add_height_bar(figure: Any) -> None:
    """A thin colour bar for the height of the points, right above the last map."""
    from matplotlib.colors import LinearSegmentedColormap

    width, height = figure.get_size_inches() * DPI
    left, bottom = width - RIGHT_PX - 320, height - TOP_PX + 32
    axes = figure.add_axes((left / width, bottom / height, 260 / width, 14 / height))
    ramp = LinearSegmentedColormap.from_list("height", HEIGHT_RAMP)
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=ramp)
    axes.set_axis_off()
    low, high = HEIGHT_RANGE_M
    style = {"color": MUTED, "fontsize": 7, "va": "center", "transform": axes.transAxes}
    axes.text(-0.03, 0.5, f"height {low:g} m", ha="right", **style)
    axes.text(1.03, 0.5, f"{high:g} m", ha="left", **style)


def _save(figure: Any, path: str | Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor=BACKGROUND, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())
