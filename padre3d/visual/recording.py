"""Clouds and boxes as a recording for the viewer of rerun (``pip install rerun-sdk``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.structures.boxes import Detections, box_arrays
from padre3d.visual.style import GROUND_TRUTH_INK, HEIGHT_RANGE_M, class_colours, ramp_rgb
from padre3d.visual.wireframe import box_texts

POINT_RADIUS_M, LINE_RADIUS_M = 0.03, 0.04


class Recording:
    """Writes frames one by one: ``add``, then ``close``, which gives the file its name.

    The timeline ``frame`` counts them. All points are kept, coloured by height; boxes have their
    classes, and the text that hovering shows in :class:`padre3d.visual.Page`.

    Args:
        path: the ``.rrd`` file.
        class_names: the names the labels count.

    Raises:
        ImportError: if rerun-sdk is not installed.
    """

    def __init__(self, path: str | Path, class_names: Sequence[str]) -> None:
        try:
            import rerun
        except ImportError as error:
            raise ImportError(".rrd files need rerun: pip install rerun-sdk") from error
        self._path, self._rerun = Path(path), rerun
        self._partial = self._path.with_name(f".{self._path.name}.partial")
        self.class_names = tuple(class_names)
        self._stream = rerun.RecordingStream("padre3d")
        self._count = 0

    def add(
        self, name: str, points: np.ndarray, found: Any, truth: Detections | None = None
    ) -> None:
        """Add a frame; the arguments and errors of :meth:`padre3d.visual.Page.add`."""
        if points.ndim != 2 or points.shape[1] < 3:
            raise ValueError(f"points: expected shape (P, >= 3), got {points.shape}")
        shown = box_arrays(found, self.class_names)
        annotated = None if truth is None else box_arrays(truth, self.class_names)
        if self._count == 0:
            self._start()
        log, rerun = self._stream.log, self._rerun
        self._stream.set_time("frame", sequence=self._count)
        self._count += 1
        xyz = points[np.isfinite(points[:, :3]).all(1), :3]
        low, high = HEIGHT_RANGE_M
        colours = ramp_rgb(np.clip((xyz[:, 2] - low) / (high - low), 0, 1))
        log("name", rerun.TextDocument(name))
        log(
            "points",
            rerun.Points3D(xyz, colors=(255 * colours).astype(np.uint8), radii=POINT_RADIUS_M),
        )
        log("detections", self._boxes(shown, True))
        if annotated is not None:
            log("ground_truth", self._boxes(annotated, False))

    def close(self) -> None:
        """Finish the file.

        Raises:
            ValueError: if no frame was added; nothing is written then.
        """
        if self._count == 0:
            raise ValueError(f"{self._path}: expected at least one frame to show, got none")
        self._stream.disconnect()
        os.replace(self._partial, self._path)

    def _start(self) -> None:
        """Open the file, and write what holds for all frames."""
        rerun = self._rerun
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._stream.save(str(self._partial))
        inks = [_rgb(colour) for colour in class_colours(self.class_names)]
        rows = [(k, n, c) for k, (n, c) in enumerate(zip(self.class_names, inks, strict=True))]
        self._stream.log("/", rerun.AnnotationContext(rows), static=True)
        self._stream.log("/", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def _boxes(self, shown: Detections, with_scores: bool) -> Any:
        half = shown.boxes[:, 6] / 2
        zero = np.zeros_like(half)
        look = (
            {"class_ids": shown.labels}
            if with_scores
            else {"colors": [_rgb(GROUND_TRUTH_INK)] * len(half)}
        )
        texts = box_texts(shown, self.class_names, with_scores)
        return self._rerun.Boxes3D(
            centers=shown.boxes[:, :3],
            half_sizes=shown.boxes[:, 3:6] / 2,
            quaternions=np.stack([zero, zero, np.sin(half), np.cos(half)], 1),
            radii=LINE_RADIUS_M,
            labels=[text.replace("<br>", "\n") for text in texts],
            show_labels=False,
            **look,
        )


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
