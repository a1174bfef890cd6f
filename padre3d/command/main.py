"""The command ``padre3d``: find boxes, look clouds over, look at results, without torch.

``padre3d detect`` alone finds the boxes of a sample that comes with the package.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from padre3d import __version__
from padre3d.cli import run_tool
from padre3d.command import detect_args, export_info, inspect, view
from padre3d.command.detect import exported_source, inputs_of
from padre3d.command.detect import run as run_detection
from padre3d.command.frames import Frame
from padre3d.io.boxes_json import read_boxes_json
from padre3d.io.formats_out import FORMATS
from padre3d.models import SAMPLE_BOXES, sample_cloud
from padre3d.runtime.manifest import read_manifest

SAMPLE_FOLDER = Path("padre3d_sample")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="padre3d", description=__doc__)
    parser.add_argument("--version", action="version", version=f"padre3d {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    added: tuple[tuple[str, str, Callable, Callable], ...] = (
        ("detect", "find boxes in point clouds", _add_detect, _detect),
        (
            "inspect",
            "look clouds over before a detection",
            inspect.add_model_arguments,
            inspect.run_for_model,
        ),
        ("view", "clouds and boxes in three dimensions", view.add_arguments, view.run),
        ("export-info", "what a model is", export_info.add_arguments, export_info.run),
    )
    for name, help_text, add, run in added:
        one = commands.add_parser(name, help=help_text, description=help_text)
        add(one)
        one.set_defaults(run=run)
    return parser.parse_args(argv)


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="", help=export_info.MODEL_HELP)
    parser.add_argument("--precision", help=export_info.PRECISION_HELP)
    detect_args.add_arguments(parser, "*")


def _detect(args: argparse.Namespace) -> int:
    folder = export_info.resolve(args.model, args.precision)
    source = exported_source(folder, args.backend, args.encoder)
    if args.points:
        return run_detection(args, source)
    cloud, _ = sample_cloud()
    args.points, args.time_lag = [cloud], True
    args.out = args.out or SAMPLE_FOLDER / f"boxes{FORMATS[args.format]}"
    args.png = args.png or SAMPLE_FOLDER / "view.png"
    args.html = args.html or SAMPLE_FOLDER / "view.html"
    classes = read_manifest(folder).classes
    failures = run_detection(args, source, partial(_sample_frames, classes))
    for path, what in (
        (args.out, "the boxes: name, score, centre, size, yaw, velocity"),
        (args.png, "bird's-eye view, the annotated boxes dashed"),
        (args.html, "three dimensions: open it in a browser"),
    ):
        print(f"{path}: {what}")
    return failures


def _sample_frames(
    classes: tuple[str, ...], args: argparse.Namespace
) -> tuple[list[Frame], list[str] | None, list[Path]]:
    """The sample with its annotated boxes, where the model knows their classes."""
    frames, names, files = inputs_of(args)
    (frame,) = frames
    path = args.points[0].with_name(SAMPLE_BOXES)
    try:
        truth = read_boxes_json(path, classes)
    except ValueError:
        truth = None  # a model of other classes
    return [replace(frame, truth=truth)], names, [*files, path]


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    args = parse_args(argv)
    if run_tool(args.run, args):
        sys.exit(1)


if __name__ == "__main__":
    main()
