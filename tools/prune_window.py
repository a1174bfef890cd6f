"""Prune the window of keys of the head's decoder.

    python tools/prune_window.py CONFIG CHECKPOINT --keep 225 --out PRUNED.pth

A proposal of the head attends to the (2r + 1)^2 cells around it. Every offset of this window is
scored over calibration frames, and the K best are kept, its own cell among them. They are written
into the checkpoint: tools/test.py, infer.py, export.py and train.py read it with the same config.
Scores: "caote", the error in the attention's output that dropping the key alone causes; "joint",
the same error while the window is emptied in rounds, against the output of all keys; "attention",
the key's weight; "distance" and "random" for comparison.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.head.eviction import (
    MEASURED,
    SCORES,
    best_offsets,
    check_keep,
    static_scores,
    window_statistics,
)
from padre3d.inference import init_model
from padre3d.io.files import write_atomic
from padre3d.training.checkpoint import load_checkpoint_file, state_of
from padre3d.training.clouds import dataset_clouds, read_clouds

KEPT = "head.decoder.window.kept"
FRAMES = 16


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", help="config file")
    add("checkpoint", help="checkpoint file of that config")
    add("--keep", type=int, required=True, metavar="K", help="number of offsets that stay")
    add("--out", type=Path, required=True, help="pruned checkpoint")
    add("--score", choices=SCORES, default="joint", help="what decides (joint)")
    add("--points", type=Path, nargs="+", default=[], help="frames, or the config's training set")
    add("--frames", type=int, help=f"most frames to score on ({FRAMES})")
    add("--seed", type=int, help="of --score random (0)")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """Refuse options without effect, and a target that is an input."""
    measured = args.score in MEASURED
    check_used(
        [
            ("--points", args.points, measured, f"--score {' or '.join(MEASURED)}"),
            ("--frames", args.frames, measured, f"--score {' or '.join(MEASURED)}"),
            ("--seed", args.seed, args.score == "random", "--score random"),
        ]
    )
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames: expected 1 or more, got {args.frames}")
    check_targets([("--out", args.out)], [args.config, args.checkpoint, *args.points])


def scores_of(args: argparse.Namespace, model: Any) -> tuple[Tensor, int]:
    """The scores that are asked for, and on how many frames."""
    if args.score not in MEASURED:
        return static_scores(model.head.decoder.window, args.score, args.seed or 0), 0
    most = args.frames or FRAMES
    clouds = [*read_clouds(args.points, most).values()]
    if not clouds:
        clouds = dataset_clouds(args.config, "train_dataloader", most, "--points")
    seen = window_statistics(model, clouds)
    return seen.scores(args.score, args.keep), seen.frames


def run(args: argparse.Namespace) -> None:
    """Score, choose, write."""
    check_args(args)
    model: Any = init_model(args.config, args.checkpoint)
    window = model.head.decoder.window
    check_keep(window, args.keep)
    count = len(window.cells())
    scores, frames = scores_of(args, model)
    kept = best_offsets(window, scores, args.keep)
    loaded = load_checkpoint_file(args.checkpoint)
    state = {**state_of(loaded, args.checkpoint), KEPT: kept}
    rest = loaded if "state_dict" in loaded else {}
    buffer = io.BytesIO()
    torch.save({**rest, "state_dict": state}, buffer)
    write_atomic(args.out, buffer.getvalue())
    far = float(kept.double().norm(dim=1).max())
    basis = f"by {args.score}" + (f" over {frames} frames" if frames else "")
    print(f"{args.out}: {args.keep} of {count} offsets kept {basis}, up to {far:.1f} cells away")


def main(argv: list[str] | None = None) -> None:
    """Entry point; a refusal is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
