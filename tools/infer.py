"""Find boxes in point files: ``python tools/infer.py CONFIG CHECKPOINT POINTS [POINTS ...]``.

One file: --out and --png are files, and without --out the boxes are printed. Several files or a
folder: --out and --png are folders that get one file for each.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from padre3d.deploy import BackendError, Runtime
from padre3d.inference import detect, init_model
from padre3d.io import SUFFIXES, drop_invalid, load_points, point_files
from padre3d.io.boxes_json import boxes_to_json, write_boxes_json
from padre3d.runtime.manifest import is_exported
from padre3d.visual import draw_bev


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file")
    add("checkpoint", help="checkpoint file of that config, or a folder of tools/export.py")
    add("points", nargs="+", type=Path, help=f"{', '.join(SUFFIXES)} files or a folder of them")
    add("--out", type=Path, help="boxes as JSON: a file, or a folder")
    add("--png", type=Path, help="bird's-eye view: a file, or a folder")
    add("--score-thr", type=float, default=0.1, help="least score kept")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...; not for exported folders")
    add("--backend", default="onnxruntime", help="of an exported folder: see docs/deployment.md")
    add("--columns", type=int, choices=(3, 4, 5), help="columns of .bin and .npy")
    add("--dtype", choices=("float32", "float16"), help="numbers of a .bin")
    add(
        "--time-lag",
        action=argparse.BooleanOptionalAction,
        help="column 5 is a time lag in s; default: unless it holds whole numbers",
    )
    add("--intensity-scale", type=float, default=1.0, help="255 for intensities from 0 to 1")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Load the model once and take every file in turn."""
    files = point_files(args.points)
    to_folders = len(args.points) > 1 or args.points[0].is_dir()
    if is_exported(args.checkpoint):
        model = find = Runtime(args.checkpoint, args.backend)
    else:
        model = init_model(args.config, args.checkpoint, args.device)
        find = partial(detect, model)
    reading = {key: getattr(args, key) for key in ("dtype", "time_lag", "intensity_scale")}
    console = Console(stderr=True, soft_wrap=True)
    for path in track(files, "detecting", console=console, disable=not to_folders):
        points, dropped = drop_invalid(load_points(path, args.columns, **reading))
        found = find(points)
        kept = found.select(found.scores >= args.score_thr)
        note = f" ({dropped} with NaN, infinity or absurd values dropped)" if dropped else ""
        console.print(f"{path}: {len(points)} points{note}, {len(kept.boxes)} boxes")
        if args.out:
            out = args.out / f"{path.stem}.json" if to_folders else args.out
            write_boxes_json(out, kept, model.class_names)
        elif not to_folders:
            print(json.dumps(boxes_to_json(kept, model.class_names), indent=1))
        if args.png:
            draw_bev(
                points,
                kept.boxes,
                kept.labels,
                kept.scores,
                model.class_names,
                path=args.png / f"{path.stem}.png" if to_folders else args.png,
                range_m=max(map(abs, model.grid.range_m[:2] + model.grid.range_m[3:5])),
                title=path.name,
            )


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    try:
        run(parse_args(argv))
    except (ValueError, FileNotFoundError, BackendError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
