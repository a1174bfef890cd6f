"""A page that shows clouds and boxes in three dimensions, one HTML file that needs no network.

Plotly draws; page/view.html and page/view.js add what plotly's own controls cannot combine: the
score, the frame and the colour of the points.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from padre3d.io.files import write_atomic
from padre3d.structures.boxes import Detections, box_arrays
from padre3d.visual.bev import boxes_in_view
from padre3d.visual.sheet import NUSCENES_LABELS
from padre3d.visual.style import (
    GROUND_TRUTH_INK,
    HEIGHT_RAMP,
    HEIGHT_RANGE_M,
    WITHOUT_HEADING,
    class_colours,
)
from padre3d.visual.thin import thin
from padre3d.visual.wireframe import PEN, box_lines, box_texts

# Eight bytes a point: with plotly itself, 4.8 MB, a page of so many stays below 15 MB.
PAGE_POINTS, FRAME_POINTS = 600_000, 80_000
MAX_FRAMES = 60
Z_RANGE_M = (-5.0, 8.0)
CM = 100
INTENSITY_SHARE = 98


@dataclass(frozen=True)
class _Frame:
    """What a page holds of a frame: the thinned points (Q, 5), boxes that reach into the view."""

    name: str
    points: np.ndarray
    found: Detections
    truth: Detections | None
    given: int
    cube_m: float


class Page:
    """Frames to be shown, collected one by one: ``page.add(...)``, then ``page.save(path)``.

    Points are thinned to one in each cube of the smallest grid that keeps the file small, and
    the page says so: at most 80,000 points a frame and 600,000 in all. Of more than 60 frames every
    n-th is kept.

    Args:
        class_names: the names the labels count.
        range_m: half the side of the square shown, around the sensor.
        axis_labels: what x and y are in the frame of points and boxes.
        forward_rad: direction of forward in that frame, counter-clockwise from +x.
        score_thr: where the score slider stands at first.

    Raises:
        ValueError: if the range is not positive.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        range_m: float = 54.0,
        axis_labels: tuple[str, str] = NUSCENES_LABELS,
        forward_rad: float = np.pi / 2,
        score_thr: float = 0.3,
    ) -> None:
        if not 0 < range_m <= 300:
            raise ValueError(f"range_m: expected more than 0 and at most 300 m, got {range_m}")
        self.class_names, self.range_m = tuple(class_names), float(range_m)
        self.axis_labels, self.forward_rad = axis_labels, forward_rad
        self.score_thr = score_thr
        self._frames: list[_Frame] = []
        self._seen, self._every = 0, 1

    def add(
        self, name: str, points: np.ndarray, found: Any, truth: Detections | None = None
    ) -> None:
        """Add a frame.

        Args:
            name: what the page calls it.
            points: (P, >= 3) x, y, z in m, intensity, time lag in s; rows with NaN and those
                outside the view are left out.
            found: detected boxes.
            truth: annotated boxes.

        Raises:
            ValueError: if the boxes are not as :func:`~padre3d.structures.boxes.box_arrays` wants
                them, or the points are no (P, >= 3).
        """
        if points.ndim != 2 or points.shape[1] < 3:
            raise ValueError(f"points: expected shape (P, >= 3), got {points.shape}")
        shown, annotated = self._visible(found), None if truth is None else self._visible(truth)
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        rows, cube_m = self._thinned(points, FRAME_POINTS)
        self._frames.append(_Frame(name, rows, shown, annotated, len(points), cube_m))
        if len(self._frames) > MAX_FRAMES:
            self._frames, self._every = self._frames[::2], 2 * self._every

    def save(self, path: str | Path) -> None:
        """Write the page.

        Raises:
            ValueError: if no frame was added.
            ImportError: if plotly is not installed.
        """
        if not self._frames:
            raise ValueError(f"{path}: expected at least one frame to show, got none")
        page = Template(_resource("view.html"))
        # "<" is written as an escape: no text can end the script that holds it.
        scene = json.dumps(self._scene(), allow_nan=False).replace("<", "\\u003c")
        parts = {"PLOTLY": _plotly(), "SCENE": scene, "SCRIPT": _resource("view.js")}
        write_atomic(path, page.substitute(parts))

    def _visible(self, boxes: Any) -> Detections:
        checked = box_arrays(boxes, self.class_names)
        return checked.select(boxes_in_view(checked.boxes, self.range_m))

    def _thinned(self, points: np.ndarray, limit: int) -> tuple[np.ndarray, float]:
        """The points in view with five columns, and the side of the cubes."""
        filled = np.zeros((len(points), 5), np.float32)
        filled[:, : min(points.shape[1], 5)] = points[:, :5]
        xyz = filled[:, :3]
        inside = np.isfinite(filled).all(1) & (np.abs(xyz[:, :2]) <= self.range_m).all(1)
        inside &= (xyz[:, 2] >= Z_RANGE_M[0]) & (xyz[:, 2] <= Z_RANGE_M[1])
        inner = filled[inside]
        rows, cube_m = thin(inner[:, :3], limit)
        return inner[rows], cube_m

    def _scene(self) -> dict[str, Any]:
        limit = max(1, PAGE_POINTS // len(self._frames))
        frames = [self._fitted(frame, limit) for frame in self._frames]
        columns = np.concatenate([frame.points[:, 3:5] for frame in frames])
        # Values above are the colour bar's last: a stray 65535 must not take the steps of all.
        intensity_top = _top(columns[:, 0], INTENSITY_SHARE)
        labels = {int(v) for f in frames for v in f.found.labels}
        named = zip(self.class_names, class_colours(self.class_names), strict=True)
        return {
            "pen": len(PEN),
            "least": self.score_thr,
            "truth_colour": GROUND_TRUTH_INK,
            "has_truth": any(frame.truth is not None for frame in frames),
            "classes": [
                {"name": name.replace("_", " "), "label": label, "colour": colour}
                for label, (name, colour) in enumerate(named)
                if label in labels
            ],
            "colours": _colours(columns),
            "intensity_top": intensity_top,
            "range_m": [[-self.range_m, self.range_m]] * 2 + [list(Z_RANGE_M)],
            "axis_labels": list(self.axis_labels),
            "forward_rad": self.forward_rad,
            "frames": [self._packed(frame, intensity_top) for frame in frames],
        }

    def _fitted(self, frame: _Frame, limit: int) -> _Frame:
        if len(frame.points) <= limit:
            return frame
        rows, cube_m = thin(frame.points[:, :3], limit)
        return _Frame(frame.name, frame.points[rows], frame.found, frame.truth, frame.given, cube_m)

    def _packed(self, frame: _Frame, intensity_top: float) -> dict[str, Any]:
        points = frame.points
        lag_s = float(points[:, 4].max(initial=0)) or 1.0
        return {
            "name": frame.name,
            "note": self._note(frame),
            "xyz": _base64(np.round(points[:, :3].T * CM), "<i2"),
            "intensity": _base64(_byte_steps(points[:, 3], intensity_top), "u1"),
            "lag": _base64(_byte_steps(points[:, 4], lag_s), "u1"),
            "lag_s": lag_s,
            "found": self._boxes(frame.found, True),
            "truth": None if frame.truth is None else self._boxes(frame.truth, False),
        }

    def _boxes(self, shown: Detections, with_scores: bool) -> dict[str, Any]:
        headed = np.array([name not in WITHOUT_HEADING for name in self.class_names])
        return {
            "lines": _base64(box_lines(shown.boxes, headed[shown.labels]), "<f4"),
            "scores": np.round(shown.scores, 4).tolist(),
            "labels": shown.labels.tolist(),
            "texts": box_texts(shown, self.class_names, with_scores),
        }

    def _note(self, frame: _Frame) -> str:
        note = f"{len(frame.points):,} of {frame.given:,} points shown: those within the view"
        if frame.cube_m:
            note += f", thinned to one in each cube of {frame.cube_m:.2f} m"
        if self._every > 1:
            note += f". Every {self._every}th of {self._seen} frames"
        return f"{note}. Click a class to hide it, twice to see it alone."


def _colours(columns: np.ndarray) -> list[dict[str, Any]]:
    """How points may be coloured: height always, the others where they say something."""
    ramp = [[k / (len(HEIGHT_RAMP) - 1), ink] for k, ink in enumerate(HEIGHT_RAMP)]
    low, high = HEIGHT_RANGE_M
    modes = [{"name": "height", "unit": " (m)", "low": low, "high": high, "scale": ramp}]
    named = (("intensity", "", "Viridis", INTENSITY_SHARE), ("time lag", " (s)", "Plasma", 100))
    for column, (name, unit, scale, share) in enumerate(named):
        values = columns[:, column]
        if len(values) and values.max() > values.min():
            top = _top(values, share)
            modes.append({"name": name, "unit": unit, "low": 0.0, "high": top, "scale": scale})
    return modes


def _top(values: np.ndarray, share: float) -> float:
    """Where the colours of values end: above so many percent of them, and above 0."""
    return max(float(np.percentile(values, share)), 1e-3) if len(values) else 1.0


def _byte_steps(values: np.ndarray, top: float) -> np.ndarray:
    """Values of 0 to top as 0 to 255."""
    return np.clip(np.round(values * (255 / top)), 0, 255)


def _base64(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(dtype).tobytes()).decode()


def _resource(name: str) -> str:
    return (files("padre3d.visual") / "page" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError("3-D pages need plotly: pip install plotly") from error
    return get_plotlyjs()
