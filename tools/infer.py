"""Find boxes in point clouds: ``python tools/infer.py CONFIG CHECKPOINT POINTS [POINTS ...]``.

One file: --out and --png are files, and without --out the boxes are printed. Several files, a
folder or a recording: --out and --png are folders that get one file for each frame. Boxes are in
the frame of the input. tools/check_cloud.py says which of the reading options a file needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from padre3d.cli import check_used, run_tool
from padre3d.command.detect import Source, exported_source
from padre3d.command.detect import run as run_detection
from padre3d.command.detect_args import add_arguments
from padre3d.data.sweeps import trained_sweeps
from padre3d.export.graphed import GraphedDetector
from padre3d.inference import check_device, detect, init_model
from padre3d.runtime.manifest import is_exported
from padre3d.structures.boxes import Detections
from padre3d.training.config import read_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", help="config file")
    add("checkpoint", help="checkpoint file of that config, or a folder of tools/export.py")
    add("--device", help="cpu (default), cuda, cuda:1, ...; not for exported folders")
    add("--graphs", action="store_true", help="run from CUDA graphs; with --device cuda")
    add_arguments(parser, "+")
    return parser.parse_args(argv)


def source_of(args: argparse.Namespace) -> Source:
    """The exported folder, or the checkpoint on its device."""
    exported = is_exported(args.checkpoint)
    check_used(
        (
            ("--device", args.device, not exported, "a checkpoint, got an exported folder"),
            ("--backend", args.backend, exported, "an exported folder, got a checkpoint"),
            ("--encoder", args.encoder, exported, "an exported folder, got a checkpoint"),
            ("--graphs", args.graphs, (args.device or "").startswith("cuda"), "--device cuda"),
        )
    )
    checkpoint = Path(args.checkpoint)
    if exported:
        return exported_source(checkpoint, args.backend, args.encoder)

    def load() -> tuple[Any, Callable[[np.ndarray], Detections]]:
        device = args.device or "cpu"
        check_device(device)
        model = init_model(args.config, args.checkpoint, device)
        return model, partial(detect, GraphedDetector(model) if args.graphs else model)

    sweeps = trained_sweeps(read_config(args.config))
    return Source((Path(args.config), checkpoint), load, **sweeps)


def run(args: argparse.Namespace) -> int:
    """Find the boxes of every frame; returns how many frames failed."""
    return run_detection(args, source_of(args))


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    if run_tool(run, parse_args(argv)):
        sys.exit(1)


if __name__ == "__main__":
    main()
