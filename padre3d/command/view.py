"""Clouds and boxes that are there already, in three dimensions: ``padre3d view``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.cli import add_debug_argument, check_targets
from padre3d.command.reading import add_reading_arguments, input_frame, reading_options
from padre3d.io import SUFFIXES, drop_unusable, point_files, read_cloud
from padre3d.io.boxes_json import IGNORED, read_boxes_json
from padre3d.io.frames import InputFrame
from padre3d.io.options import UNITS_M
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.visual import Page, Recording

WRITTEN = (".html", ".rrd")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Clouds, boxes, and where the view goes."""
    add = parser.add_argument
    add("points", nargs="+", type=Path, help=f"{', '.join(SUFFIXES)} files or a folder of them")
    add("--boxes", type=Path, help="JSON of a detection: a file, or a folder with CLOUD.json")
    add("--truth", type=Path, help="annotated boxes in the same form")
    add("--out", type=Path, default=Path("view.html"), help=f"{' or '.join(WRITTEN)} (%(default)s)")
    add("--range", type=float, default=54.0, metavar="M", help="half the side of what is shown")
    add("--score-thr", type=float, default=0.3, help="where the score slider stands (%(default)s)")
    add_reading_arguments(parser)
    add_debug_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Read everything, then write the view."""
    files = point_files(args.points)
    if args.out.suffix not in WRITTEN:
        raise ValueError(f"--out {args.out}: expected a name that ends in {' or '.join(WRITTEN)}")
    if not 0 <= args.score_thr <= 1:
        raise ValueError(f"--score-thr: expected a number from 0 to 1, got {args.score_thr}")
    for option, boxes in (("--boxes", args.boxes), ("--truth", args.truth)):
        if len(files) > 1 and boxes is not None and not boxes.is_dir():
            raise ValueError(f"{option} {boxes}: expected a folder for {len(files)} clouds")
    pairs = [(boxes_of(args.boxes, f), boxes_of(args.truth, f)) for f in files]
    read = [path for pair in pairs for path in pair if path is not None]
    check_targets([("--out", args.out)], [*files, *args.points, *read])
    options, frame = reading_options(args, files), input_frame(args)
    names = class_names(read)
    view = make_view(args, names, frame)
    for path, (found, truth) in zip(files, pairs, strict=True):
        points, _ = drop_unusable(read_cloud(path, options[path.suffix.lower()]).points)
        shown = Detections.empty() if found is None else near_boxes(found, names, frame)
        annotated = None if truth is None else near_boxes(truth, names, frame)
        view.add(path.name, points, shown, annotated)
    if isinstance(view, Page):
        view.save(args.out)
    else:
        view.close()
    print(f"{args.out}: {len(files)} frames, {args.out.stat().st_size / 1e6:.1f} MB")


def make_view(args: argparse.Namespace, names: tuple[str, ...], frame: InputFrame) -> Any:
    """The page or the recording."""
    if args.out.suffix == ".rrd":
        return Recording(args.out, names)
    return Page(
        names,
        range_m=args.range,
        axis_labels=frame.axis_labels,
        forward_rad=frame.forward_rad,
        score_thr=args.score_thr,
    )


def boxes_of(boxes: Path | None, cloud: Path) -> Path | None:
    """The file with the boxes of a cloud: ``boxes`` itself, or in that folder.

    Raises:
        FileNotFoundError: if there is none.
    """
    if boxes is None:
        return None
    path = boxes / f"{cloud.stem}.json" if boxes.is_dir() else boxes
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the boxes of {cloud}, found no file")
    return path


def class_names(files: list[Path]) -> tuple[str, ...]:
    """nuScenes' ten and every other name in the files.

    Raises:
        ValueError: if a file holds no boxes.
    """
    names = dict.fromkeys(NUSCENES_CLASSES)
    for path in files:
        try:
            names |= dict.fromkeys(
                str(box["name"]) for box in json.loads(path.read_text())["boxes"]
            )
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f'{path}: expected JSON with a list "boxes", got {error!r}') from error
    names.pop(IGNORED, None)
    return tuple(names)


def near_boxes(path: Path, names: tuple[str, ...], frame: InputFrame) -> Detections:
    """Boxes of a file, around the sensor as the points are."""
    boxes, scores, labels = read_boxes_json(path, names)
    moved = np.array(boxes)
    moved[:, :3] -= np.asarray(frame.origin) * UNITS_M[frame.unit]
    return Detections(moved, scores, labels)
