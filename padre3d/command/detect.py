"""Boxes of point clouds, frame by frame: what tools/infer.py and ``padre3d detect`` share.

One file: --out and --png are files, and without --out the boxes are printed. Several files, a
folder or a recording: --out and --png are folders that get one file for each frame. Boxes are in
the frame of the input.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from padre3d.cli import check_targets
from padre3d.command.detect_args import NUM_SWEEPS, check_args
from padre3d.command.frames import Frame, file_frames, recorded_frames, with_poses
from padre3d.command.joining import Joiner
from padre3d.command.output import BoxWriter, Selection, in_unit_range, selection, summary
from padre3d.command.pictures import Pictures
from padre3d.command.reading import input_frame, reading_options
from padre3d.io import drop_unusable, point_files
from padre3d.io.frames import InputFrame
from padre3d.io.poses import checked_pose, read_poses
from padre3d.io.recordings import is_recording
from padre3d.io.report import Expected, Verdict, examine, why_no_boxes
from padre3d.models import folder_info
from padre3d.runtime import Runtime, SweepBuffer
from padre3d.runtime.compiled_encoder import NUMPY
from padre3d.structures.boxes import Detections


@dataclass(frozen=True)
class Source:
    """Where the model comes from.

    Attributes:
        files: files and folders that are read, and must not be written over.
        load: gives the model, which has ``class_names`` and ``grid``, and how it finds boxes.
        num_sweeps: sweeps of the clouds it was trained on.
        stride: every how many sweeps one was taken.
    """

    files: tuple[Path, ...]
    load: Callable[[], tuple[Any, Callable[[np.ndarray], Detections]]]
    num_sweeps: int = NUM_SWEEPS
    stride: int = 1


def exported_source(folder: Path, backend: str | None, encoder: str | None) -> Source:
    """A folder of tools/export.py; its info.json says how many sweeps the model wants."""
    said = folder_info(folder)

    def load() -> tuple[Any, Callable[[np.ndarray], Detections]]:
        chosen = NUMPY if encoder is None else encoder
        runtime = Runtime(folder, backend or "onnxruntime", encoder=chosen)
        return runtime, runtime

    files = (folder, *(path for path in folder.rglob("*") if path.is_file()))
    files += () if encoder is None else (Path(encoder),)
    return Source(files, load, said.get("num_sweeps", NUM_SWEEPS), said.get("stride", 1))


@dataclass
class Inference:
    """A model, what is kept of its boxes, and what was seen so far."""

    find: Callable[[np.ndarray], Detections]
    class_names: tuple[str, ...]
    expected: Expected
    frame: InputFrame
    select: Selection
    writer: BoxWriter
    join: Joiner | None
    lidar_to_ego: np.ndarray
    score_thr: float
    pictures: Pictures
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
        pause = ""
        if self.join is not None:
            cloud, pause = self.join(cloud, frame)
        found = self.find(self.frame.to_model(cloud.points))
        self.seconds.append(time.perf_counter() - start)
        kept = self.select(found)
        verdict = examine(cloud, self.frame, self.expected, dropped)
        self._say(frame, verdict, len(points), found, kept)
        if pause:
            self.console.print(f"  {pause}")
        pose = None if frame.pose is None else frame.pose @ self.lidar_to_ego
        self.writer.add(frame.name, self.frame.to_input(kept), frame.token, pose)
        self.boxes.update(self.class_names[label] for label in kept.labels)
        self.pictures.add(frame, cloud.points, kept)

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


def run(args: argparse.Namespace, source: Source, inputs: Callable[..., Any] = inputs_of) -> int:
    """Load the model once and take every frame in turn.

    Args:
        args: of :func:`padre3d.command.detect_args.add_arguments`.
        source: the model.
        inputs: gives the frames as :func:`inputs_of` does.

    Returns:
        How many frames failed.

    Raises:
        ValueError, OSError, ImportError, BackendError: where the options, the model or a lone file
            are not as they should be.
    """
    check_args(args)
    in_unit_range("--score-thr", args.score_thr)
    frames, names, files = inputs(args)
    many = names is None or len(args.points) > 1 or args.points[0].is_dir()
    frame, calibration = input_frame(args), parse_calibration(args.lidar_to_ego)
    writer = BoxWriter((), args.format, args.out, many, frame.forward_rad, not many)
    pictures = Pictures(args, many)
    check_paths(args, names, [*files, *source.files], writer, pictures)
    model, find = source.load()
    writer.class_names = tuple(model.class_names)
    grid = tuple(map(float, model.grid.range_m))
    pictures.open(writer.class_names, frame, max(map(abs, (*grid[:2], *grid[3:5]))))
    sweeps = args.sweeps or source.num_sweeps
    job = Inference(
        find=find,
        class_names=writer.class_names,
        expected=Expected.of(grid, sweeps),
        frame=frame,
        select=selection(
            writer.class_names, args.score_thr, args.class_thr, args.classes, args.nms_iou
        ),
        writer=writer,
        join=joiner(args, sweeps, args.stride or source.stride, calibration),
        lidar_to_ego=calibration,
        score_thr=args.score_thr,
        pictures=pictures,
        console=messages(),
    )
    return take_all(job, frames, many, args.debug)


def messages() -> Console:
    """Where everything is said that is no result."""
    return Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


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
    for path in job.pictures.close():
        job.console.print(f"written: {path}")
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


def joiner(
    args: argparse.Namespace, sweeps: int, stride: int, lidar_to_ego: np.ndarray
) -> Joiner | None:
    """What joins sweeps where there are poses; a single cloud keeps its own time lags."""
    if sweeps == 1 or (args.poses is None and args.pose_topic is None):
        return None
    return Joiner(SweepBuffer(sweeps, stride=stride, lidar_to_ego=lidar_to_ego), args.max_lag)


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
    inputs: list[Path],
    writer: BoxWriter,
    pictures: Pictures,
) -> None:
    """Refuse to write over what is read, or twice to one file.

    Raises:
        ValueError: naming the option.
    """
    inputs = [*inputs, *args.points]
    png = pictures.png
    single = [(option, path, False) for option, path in pictures.files]
    to_folder = writer.to_folder and writer.form != "nuscenes"
    named = (("--out", args.out, to_folder), ("--png", args.png, writer.to_folder))
    for option, path, is_folder in (*named, *single):
        if path is not None:
            if path.exists() and path.is_dir() != is_folder:
                wanted = ("a file", "a folder")[is_folder]
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
    check_targets([*targets, *pictures.files], inputs)
