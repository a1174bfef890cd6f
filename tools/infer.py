"""Find boxes in point clouds: ``python tools/infer.py CONFIG CHECKPOINT POINTS [POINTS ...]``.

One file: --out and --png are files, and without --out the boxes are printed. Several files, a
folder or a recording: --out and --png are folders that get one file for each frame. Boxes are in
the frame of the input. tools/check_cloud.py says which of the reading options a file needs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cloud_args import input_frame, reading_options
from infer_args import DRAW_THR, NUM_SWEEPS, check_args
from infer_args import parse_args as parse
from infer_frames import Frame, file_frames, recorded_frames, with_poses, with_sweeps
from infer_output import BoxWriter, Selection, in_unit_range, selection, summary
from rich.console import Console
from rich.progress import track

from padre3d.cli import check_targets, run_tool
from padre3d.deploy import Runtime
from padre3d.inference import check_device, detect, init_model
from padre3d.io import drop_unusable, point_files
from padre3d.io.frames import InputFrame
from padre3d.io.poses import checked_pose, read_poses
from padre3d.io.recordings import is_recording
from padre3d.io.report import Expected, Verdict, examine, why_no_boxes
from padre3d.runtime.manifest import is_exported
from padre3d.runtime.sweep_buffer import SweepBuffer
from padre3d.structures.boxes import Detections
from padre3d.visual import draw_bev

CONSOLE = {"stderr": True, "soft_wrap": True, "markup": False, "highlight": False}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return parse(argv, __doc__)


@dataclass
class Inference:
    """A model, what is kept of its boxes, and what was seen so far."""

    find: Callable[[np.ndarray], Detections]
    class_names: tuple[str, ...]
    expected: Expected
    frame: InputFrame
    select: Selection
    writer: BoxWriter
    buffer: SweepBuffer | None
    lidar_to_ego: np.ndarray
    score_thr: float
    png: Callable[[str], Path] | None
    draw_thr: float
    console: Console
    failures: list[str] = field(default_factory=list)
    boxes: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    said: set[str] = field(default_factory=set)

    def take(self, frame: Frame) -> None:
        """One frame: read, find, write, draw."""
        start = time.perf_counter()
        cloud = frame.read()
        points, dropped = drop_unusable(cloud.points)
        cloud = replace(cloud, points=points)
        if self.buffer is not None:
            cloud = with_sweeps(cloud, frame, self.buffer)
        found = self.find(self.frame.to_model(cloud.points))
        self.seconds.append(time.perf_counter() - start)
        kept = self.select(found)
        verdict = examine(cloud, self.frame, self.expected, dropped)
        self._say(frame, verdict, len(points), found, kept)
        pose = None if frame.pose is None else frame.pose @ self.lidar_to_ego
        self.writer.add(frame.name, self.frame.to_input(kept), frame.token, pose)
        self.boxes.update(self.class_names[label] for label in kept.labels)
        if self.png is not None:
            self._draw(frame, cloud.points, kept)

    def _say(
        self, frame: Frame, verdict: Verdict, points: int, found: Detections, kept: Detections
    ) -> None:
        note = f" ({verdict.dropped.text()} dropped)" if verdict.dropped.total else ""
        self.console.print(f"{frame.source}: {points} points{note}, {len(kept.scores)} boxes")
        self.console.print(f"  {verdict.short()}")
        if not len(kept.scores):
            best = float(found.scores.max()) if len(found.scores) else None
            reason = why_no_boxes(verdict, best, self.score_thr, self.expected)
            self.console.print(f"  no boxes: {reason}")
        for advice in verdict.advice:
            if advice not in self.said:
                self.console.print(f"  ! {advice}")
        self.said |= set(verdict.advice)

    def _draw(self, frame: Frame, points: np.ndarray, kept: Detections) -> None:
        # Far from the origin of a map, the picture is about the sensor.
        near = replace(self.frame, origin=(0.0, 0.0, 0.0))
        shown = near.to_input(kept.select(kept.scores >= self.draw_thr))
        low, high = self.expected.range_m[:2], self.expected.range_m[3:5]
        draw_bev(
            points,
            shown.boxes,
            shown.labels,
            shown.scores,
            self.class_names,
            path=self.png(frame.name),
            range_m=max(map(abs, (*low, *high))),
            title=Path(frame.source).name,
            axis_labels=self.frame.axis_labels,
            forward_rad=self.frame.forward_rad,
        )


def load_model(args: argparse.Namespace) -> tuple[Any, Callable[[np.ndarray], Detections]]:
    """The model and how it finds boxes.

    Raises:
        ValueError, FileNotFoundError, BackendError: if it cannot be had.
    """
    if is_exported(args.checkpoint):
        runtime = Runtime(args.checkpoint, args.backend or "onnxruntime")
        return runtime, runtime
    device = args.device or "cpu"
    check_device(device)
    model = init_model(args.config, args.checkpoint, device)
    return model, partial(detect, model)


def inputs_of(args: argparse.Namespace) -> tuple[Iterable[Frame], list[str] | None, list[Path]]:
    """The frames, their names if they are known before, and the files that are read."""
    if is_recording(args.points[0]):
        (path,) = args.points
        options = reading_options(args, [path])[path.suffix.lower()]
        frames = recorded_frames(path, options, args.topic, args.pose_topic, args.fixed_frame)
        return frames, None, [path]
    files = point_files(args.points)
    listed = file_frames(files, reading_options(args, files))
    names = [frame.name for frame in listed]
    if args.poses is not None:
        listed = with_poses(listed, read_poses(args.poses))
        files = [*files, args.poses]
    return listed, names, files


def run(args: argparse.Namespace) -> int:
    """Load the model once and take every frame in turn; returns how many failed."""
    check_args(args)
    in_unit_range("--score-thr", args.score_thr)
    draw_thr = DRAW_THR if args.draw_thr is None else in_unit_range("--draw-thr", args.draw_thr)
    frames, names, files = inputs_of(args)
    many = names is None or len(args.points) > 1 or args.points[0].is_dir()
    frame, calibration = input_frame(args), parse_calibration(args.lidar_to_ego)
    writer = BoxWriter((), args.format, args.out, many, frame.forward_rad, not many)
    png = (
        None if args.png is None else (lambda name: args.png / f"{name}.png" if many else args.png)
    )
    check_paths(args, names, files, writer, png)
    model, find = load_model(args)
    writer.class_names = tuple(model.class_names)
    grid = tuple(map(float, model.grid.range_m))
    sweeps = args.sweeps or NUM_SWEEPS
    job = Inference(
        find=find,
        class_names=writer.class_names,
        expected=Expected(grid, sweeps, Expected.points if grid == Expected.range_m else None),
        frame=frame,
        select=selection(
            writer.class_names, args.score_thr, args.class_thr, args.classes, args.nms_iou
        ),
        writer=writer,
        buffer=make_buffer(args, sweeps, calibration),
        lidar_to_ego=calibration,
        score_thr=args.score_thr,
        png=png,
        draw_thr=draw_thr,
        console=Console(**CONSOLE),
    )
    return take_all(job, frames, many, args.debug)


def take_all(job: Inference, frames: Iterable[Frame], many: bool, debug: bool) -> int:
    """Every frame; one that fails does not stop the others where there are several."""
    count = 0
    shown = track(frames, "detecting", console=job.console, disable=not many)
    for frame in _until_broken(shown, job):
        count += 1
        try:
            job.take(frame)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, ImportError) as error:
            if debug or not many:
                raise
            job.failures.append(str(error))
            job.console.print(f"error: {error}")
    job.writer.close()
    if len(job.failures) > 0:
        job.console.print(f"{len(job.failures)} failed:")
        for failure in job.failures:
            job.console.print(f"  {failure}")
    job.console.print(summary(count, job.failures, job.boxes, job.seconds))
    return len(job.failures)


def _until_broken(frames: Iterable[Frame], job: Inference) -> Iterator[Frame]:
    """The frames of a source that may break off, as a damaged recording does."""
    source = iter(frames)
    while True:
        try:
            frame = next(source)
        except StopIteration:
            return
        except ValueError as error:
            job.failures.append(str(error))
            job.console.print(f"error: {error}")
            return
        yield frame


def make_buffer(
    args: argparse.Namespace, sweeps: int, lidar_to_ego: np.ndarray
) -> SweepBuffer | None:
    """A sweep buffer where there are poses."""
    if args.poses is None and args.pose_topic is None:
        return None
    return SweepBuffer(sweeps, lidar_to_ego=lidar_to_ego)


def parse_calibration(text: str | None) -> np.ndarray:
    """(4, 4) of ``"x,y,z,qw,qx,qy,qz"``, the identity of None."""
    if text is None:
        return np.eye(4)
    try:
        return checked_pose([float(part) for part in text.split(",")])
    except ValueError as error:
        raise ValueError(f"--lidar-to-ego: expected X,Y,Z,QW,QX,QY,QZ, got {text!r}") from error


def check_paths(
    args: argparse.Namespace,
    names: list[str] | None,
    files: list[Path],
    writer: BoxWriter,
    png: Callable[[str], Path] | None,
) -> None:
    """Refuse to write over what is read, or twice to one file.

    Raises:
        ValueError: naming the option.
    """
    checkpoint = Path(args.checkpoint)
    inputs = [*files, Path(args.config), checkpoint, *args.points]
    if checkpoint.is_dir():
        inputs += [path for path in checkpoint.rglob("*") if path.is_file()]
    for option, path in (("--out", args.out), ("--png", args.png)):
        to_folder = writer.to_folder and not (option == "--out" and writer.form == "nuscenes")
        if path is not None:
            if path.exists() and path.is_dir() != to_folder:
                wanted = ("a file", "a folder")[to_folder]
                raise ValueError(f"{option} {path}: expected {wanted} to write, got another")
            # A folder of clouds may get the boxes beside them.
            allowed = [p for p in inputs if not (p.is_dir() and p in args.points)]
            check_targets([(option, path)], allowed)
    targets = []
    for name in names or []:
        targets += [("--out", writer.target(name))] if args.out else []
        targets += [("--png", png(name))] if png else []
    if writer.form == "nuscenes":
        targets = [*dict.fromkeys(targets)]
    check_targets(targets, inputs)


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    if run_tool(run, parse_args(argv)):
        sys.exit(1)


if __name__ == "__main__":
    main()
