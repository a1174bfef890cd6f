"""Clouds looked over before inference: tools/check_cloud.py and ``padre3d inspect``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from padre3d.cli import add_debug_argument, one_line
from padre3d.command.reading import add_reading_arguments, input_frame, reading_options
from padre3d.io import SUFFIXES, point_files, read_cloud
from padre3d.io.report import Expected, examine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, range and how they are read."""
    parser.add_argument(
        "points", nargs="+", type=Path, help=f"{', '.join(SUFFIXES)} files or a folder of them"
    )
    parser.add_argument(
        "--range",
        type=float,
        default=54.0,
        metavar="M",
        help="half the side of the square that the model sees",
    )
    add_reading_arguments(parser)
    add_debug_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Report every file; returns how many could not be read."""
    if not args.range > 0:
        raise ValueError(f"--range: expected a positive number of metres, got {args.range}")
    files = point_files(args.points)
    options, frame = reading_options(args, files), input_frame(args)
    expected = Expected((-args.range, -args.range, -5.0, args.range, args.range, 3.0))
    failures = 0
    for path in files:
        try:
            cloud = read_cloud(path, options[path.suffix.lower()])
        except (ValueError, OSError, ImportError) as error:
            if args.debug:
                raise
            failures += 1
            print(f"error: {one_line(error)}", file=sys.stderr)
        else:
            print(examine(cloud, frame, expected).text(str(path)))
    return failures
