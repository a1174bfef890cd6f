"""The sheet a picture is drawn on: maps with axes in metres, range rings and the ego marker.

Maps show x to the right and y upwards; the labels say which of them is forward, and so does the
ego marker. In the nuScenes LiDAR frame forward is upwards.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.io.files import write_atomic
from padre3d.visual.style import BACKGROUND, GRID, HEIGHT_RAMP, HEIGHT_RANGE_M, INK, MUTED

DPI = 200
LEFT_PX, RIGHT_PX, BOTTOM_PX, TOP_PX = 125, 75, 215, 100
TITLE_LENGTH = 48
NUSCENES_LABELS = ("x, right (m)", "y, forward (m)")


def shortened(title: str) -> str:
    """A title that leaves room for the colour bar: a long one keeps its beginning and its end."""
    if len(title) <= TITLE_LENGTH:
        return title
    half = TITLE_LENGTH // 2
    return f"{title[:half]}…{title[-half:]}"


class Sheet:
    """Square maps side by side, with room for titles above and legends below.

    Args:
        maps: number of maps.
        map_px: side of a map in pixels.
        range_m: half the side of a map in metres.

    Raises:
        ValueError: if the range is not positive.
        ImportError: if matplotlib is not installed.
    """

    def __init__(self, maps: int, map_px: int, range_m: float) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("pictures need matplotlib: pip install matplotlib") from error
        if not 0 < range_m < np.inf:
            raise ValueError(f"range_m: expected a positive number of metres, got {range_m}")
        self.map_px, self.range_m = map_px, float(range_m)
        self.width_px = maps * (LEFT_PX + map_px + RIGHT_PX)
        self.height_px = BOTTOM_PX + map_px + TOP_PX
        size = (self.width_px / DPI, self.height_px / DPI)
        self.figure = Figure(size, dpi=DPI, facecolor=BACKGROUND)
        # A figure with a canvas of its own needs no window system and no global state.
        FigureCanvasAgg(self.figure)

    def add_map(
        self,
        column: int,
        title: str,
        axis_labels: tuple[str, str] = NUSCENES_LABELS,
        forward_rad: float = np.pi / 2,
    ) -> Any:
        """Axes of the map in a column (0 is the left one): rings, ego marker, metres, no points.

        Args:
            column: place of the map.
            title: the line above it.
            axis_labels: what the x and the y axis are.
            forward_rad: where the ego marker points, counter-clockwise from +x.
        """
        left = column * (LEFT_PX + self.map_px + RIGHT_PX) + LEFT_PX
        axes = self._add_axes(left, BOTTOM_PX, self.map_px, self.map_px)
        limits = (-self.range_m, self.range_m)
        step = ring_step_m(self.range_m)
        ticks = np.arange(-int(self.range_m / step), int(self.range_m / step) + 1) * step
        axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks)
        axes.tick_params(colors=MUTED, labelsize=8, length=3)
        for spine in axes.spines.values():
            spine.set_color(GRID)
        axes.set_xlabel(axis_labels[0], color=MUTED, fontsize=8, labelpad=2)
        axes.set_ylabel(axis_labels[1], color=MUTED, fontsize=8, labelpad=0)
        axes.set_title(shortened(title), color=INK, fontsize=11, loc="left", pad=8)
        _draw_rings(axes, ticks[ticks > 0])
        # Turned by 0 degrees, the triangle points upwards.
        marker = (3, 0, np.rad2deg(forward_rad) - 90)
        axes.plot([0], [0], marker=marker, markersize=8, color=INK, zorder=6)
        return axes

    def add_legend(self, column: int, handles: list[Any]) -> None:
        """Write a legend below the map in a column."""
        middle = column * (LEFT_PX + self.map_px + RIGHT_PX) + LEFT_PX + self.map_px / 2
        self.figure.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(middle / self.width_px, 118 / self.height_px),
            ncol=4,
            frameon=False,
            labelcolor=INK,
            fontsize=8,
            columnspacing=1.4,
            handlelength=1.5,
            labelspacing=0.35,
        )

    def add_height_bar(self) -> None:
        """A thin colour bar for the height of the points, right above the last map."""
        from matplotlib.colors import LinearSegmentedColormap

        left, bottom = self.width_px - RIGHT_PX - 320, self.height_px - TOP_PX + 32
        axes = self._add_axes(left, bottom, 260, 14)
        ramp = LinearSegmentedColormap.from_list("height", HEIGHT_RAMP)
        axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=ramp)
        axes.set_axis_off()
        low, high = HEIGHT_RANGE_M
        style = {"color": MUTED, "fontsize": 7, "va": "center", "transform": axes.transAxes}
        axes.text(-0.03, 0.5, f"height {low:g} m", ha="right", **style)
        axes.text(1.03, 0.5, f"{high:g} m", ha="left", **style)

    def save(self, path: str | Path) -> None:
        """Write the sheet as a PNG; a reader never sees half a file."""
        buffer = io.BytesIO()
        # Without the version of matplotlib in it, the same picture has the same bytes.
        self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        write_atomic(path, buffer.getvalue())

    def _add_axes(self, left: float, bottom: float, width: float, height: float) -> Any:
        rect = (
            left / self.width_px,
            bottom / self.height_px,
            width / self.width_px,
            height / self.height_px,
        )
        return self.figure.add_axes(rect, facecolor=BACKGROUND)


def ring_step_m(range_m: float) -> float:
    """The smallest of ..., 1, 2, 5, 10, 20, ... m that gives at most six rings."""
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
