"""Everything that is drawn of the frames of a detection: pictures, a page, a recording, a film."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from padre3d.command.detect_args import DRAW_THR
from padre3d.command.frames import Frame
from padre3d.command.output import in_unit_range
from padre3d.io.frames import InputFrame
from padre3d.structures.boxes import Detections
from padre3d.visual import Page, Recording, draw_bev
from padre3d.visual.video import FPS, Video, check_video


class Pictures:
    """What the options ask for; ``open`` before the first frame, ``close`` after the last.

    Args:
        args: ``png, html, rrd, video, fps, draw_thr``.
        many: whether ``png`` is a folder that gets a picture for each frame.

    Raises:
        ValueError, ImportError: if one of them cannot be made.
    """

    def __init__(self, args: argparse.Namespace, many: bool) -> None:
        self._args, self._many, self._count = args, many, 0
        self.draw_thr = DRAW_THR
        if args.draw_thr is not None:
            self.draw_thr = in_unit_range("--draw-thr", args.draw_thr)
        self._fps = FPS if args.fps is None else args.fps
        if args.video is not None:
            check_video(args.video, self._fps)

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Option and path of every single file; pictures of many frames are in :attr:`png`."""
        named = (("--html", self._args.html), ("--rrd", self._args.rrd))
        return [(o, p) for o, p in (*named, ("--video", self._args.video)) if p is not None]

    @property
    def png(self) -> Callable[[str], Path] | None:
        """The picture of a frame by its name, None without pictures."""
        path = self._args.png
        if path is None:
            return None
        return lambda name: path / f"{name}.png" if self._many else path

    def open(self, class_names: Sequence[str], frame: InputFrame, range_m: float) -> None:
        """Start the files.

        Args:
            class_names: of the model.
            frame: of the input.
            range_m: half the side of what is shown.
        """
        args = self._args
        # Far from the origin of a map, pictures are about the sensor.
        self._frame = replace(frame, origin=(0.0, 0.0, 0.0))
        self._class_names, self._range_m = tuple(class_names), range_m
        self._page = self._recording = self._video = None
        if args.html is not None:
            self._page = Page(
                class_names,
                range_m=range_m,
                axis_labels=frame.axis_labels,
                forward_rad=frame.forward_rad,
                score_thr=self.draw_thr,
            )
        if args.rrd is not None:
            self._recording = Recording(args.rrd, class_names)
        if args.video is not None:
            self._video = Video(args.video, self._fps)

    def add(self, frame: Frame, points: np.ndarray, kept: Detections) -> None:
        """Draw a frame.

        Args:
            frame: its names, and its annotated boxes if there are any.
            points: (P, 5) of the input.
            kept: boxes in the frame of the model.
        """
        self._count += 1
        shown = self._frame.to_input(kept)
        for file in (self._page, self._recording):
            if file is not None:
                file.add(Path(frame.source).name, points, shown, frame.truth)
        path = None if self.png is None else self.png(frame.name)
        if path is not None:
            self._draw(path, frame, points, shown)
        if self._video is not None:
            with tempfile.TemporaryDirectory() as folder:
                film = Path(folder) / "frame.png" if path is None else path
                if path is None:
                    self._draw(film, frame, points, shown)
                self._video.add(film)

    def close(self) -> list[Path]:
        """Finish the files; none if no frame could be drawn. Returns those that hold all frames."""
        if self._count == 0:
            return []
        if self._page is not None:
            self._page.save(self._args.html)
        for file in (self._recording, self._video):
            if file is not None:
                file.close()
        return [path for _, path in self.files]

    def _draw(self, path: Path, frame: Frame, points: np.ndarray, shown: Detections) -> None:
        shown = shown.select(shown.scores >= self.draw_thr)
        draw_bev(
            points,
            shown.boxes,
            shown.labels,
            shown.scores,
            self._class_names,
            path=path,
            gt=frame.truth,
            range_m=self._range_m,
            title=Path(frame.source).name,
            axis_labels=self._frame.axis_labels,
            forward_rad=self._frame.forward_rad,
        )
