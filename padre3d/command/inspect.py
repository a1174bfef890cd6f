"""Clouds looked over before inference: tools/check_cloud.py and ``padre3d inspect``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from padre3d.cli import add_debug_argument, one_line
from padre3d.command.detect_args import NUM_SWEEPS
from padre3d.command.export_info import MODEL_HELP, resolve
from padre3d.command.reading import add_reading_arguments, input_frame, reading_options
from padre3d.io import SUFFIXES, point_files, read_cloud
from padre3d.io.report import Expected, examine
from padre3d.models import folder_info, model_names
from padre3d.runtime.manifest import read_manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, range and how they are read."""
    parser.add_argument(
        "points", nargs="+", type=Path, help=f"{', '.join(SUFFIXES)} files or a folder of them"
    )
    parser.add_argument(
        "--range",
        type=float,
        metavar="M",
        help="half the side of the square that the model sees (default: its own, else 54)",
    )
    add_reading_arguments(parser)
    add_debug_argument(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The same, and the model that the clouds are for."""
    parser.add_argument("--model", default="", help=MODEL_HELP)
    add_arguments(parser)


def run_for_model(args: argparse.Namespace) -> int:
    """Report every file by the sweeps and the range of ``--model``; as :func:`run`.

    Without a packaged model and a named one, ten sweeps of nuScenes are expected.
    """
    if not args.model and not model_names():
        return run(args)
    folder = resolve(args.model, None)
    sweeps = folder_info(folder).get("num_sweeps", NUM_SWEEPS)
    return run(args, Expected.of(read_manifest(folder).grid.range_m, sweeps))


def run(args: argparse.Namespace, expected: Expected | None = None) -> int:
    """Report every file; returns how many could not be read.

    Args:
        args: of :func:`add_arguments`; a range there overrules the expected one.
        expected: what the model expects; default: ten sweeps of nuScenes.
    """
    expected = Expected() if expected is None else expected
    if args.range is not None:
        if not args.range > 0:
            raise ValueError(f"--range: expected a positive number of metres, got {args.range}")
        low, high = expected.range_m[2], expected.range_m[5]
        square = (-args.range, -args.range, low, args.range, args.range, high)
        expected = Expected.of(square, expected.sweeps)
    files = point_files(args.points)
    options, frame = reading_options(args, files), input_frame(args)
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
