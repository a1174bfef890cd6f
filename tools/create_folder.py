"""The folder and kitti kinds of tools/create_data.py."""

from __future__ import annotations

import argparse
from pathlib import Path

from padre3d.cli import Rule, check_targets
from padre3d.command.reading import add_reading_arguments, input_frame, reading_options

CONFIG = "detector.py"
DEFAULT_CONFIG = Path(__file__).resolve().parent.parent / "configs/dsvt_padre2_nuscenes.py"


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of data of one's own."""
    add = parser.add_argument_group("folder, kitti").add_argument
    add("--classes", help="names that count, in label order, such as car,dog; default: all")
    add("--split", type=Path, metavar="JSON", help="lists train and val of recordings or frames")
    add("--val-share", type=float, default=0.2, help="of the recordings, without a split file")
    add("--seed", type=int, default=0, help="of the draw of recordings")
    add("--config", type=Path, default=DEFAULT_CONFIG, help="the config to adapt")
    add("--range", metavar="XMIN,YMIN,ZMIN,XMAX,YMAX,ZMAX", help="of the model; default: its own")
    add_reading_arguments(parser)


def parse_range(text: str) -> list[float]:
    """Six numbers; ValueError for anything else."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 6:
        raise ValueError(f"--range: expected six numbers with commas, got {text!r}")
    return values


def prepare_folder(args: argparse.Namespace) -> list[Path]:
    """Prepare a folder and write its config; returns what was written."""
    from padre3d.data.folder import folder_frames
    from padre3d.data.kitti import kitti_frames
    from padre3d.data.prepare_frames import prepare_frames
    from padre3d.training.own_config import check_base, write_own_config

    root, out = args.root_path, args.out_dir or args.root_path
    range_m = parse_range(args.range) if args.range else None
    check_targets([(f"{CONFIG} in {out}:", out / CONFIG)], [args.config])
    # Whatever is wrong with config or range is an error before anything is written.
    try:
        check_base(args.config, range_m)
    except ValueError as error:
        given = f"--range {args.range}" if args.range else f"--config {args.config}"
        raise ValueError(f"{given}: {error}") from error
    if args.dataset == "kitti":
        args.preset = args.preset or "kitti"
        frames = kitti_frames(root)
    else:
        frames = folder_frames(root)
    prepared = prepare_frames(
        frames,
        root,
        out=out,
        axes=input_frame(args),
        options=reading_options(args, [frame.path for frame in frames]),
        tag=args.extra_tag,
        classes=args.classes.split(",") if args.classes else None,
        max_sweeps=args.max_sweeps,
        split_file=args.split,
        val_share=args.val_share,
        seed=args.seed,
        workers=args.workers,
        also=lambda folder, names, sweeps: write_own_config(
            folder / CONFIG, args.config, out, names, sweeps, args.extra_tag, range_m
        ),
    )
    for note in prepared.notes:
        print(note)
    return prepared.written


def unused_options(args: argparse.Namespace) -> list[Rule]:
    """Options of another kind of data set than the one that is prepared."""
    parser = argparse.ArgumentParser(add_help=False)
    add_folder_arguments(parser)
    is_own = args.dataset != "nuscenes"
    rules: list[Rule] = [
        ("--version", args.version, not is_own, "the kind nuscenes"),
        ("--categories", args.categories, not is_own, "the kind nuscenes"),
    ]
    for action in parser._actions:
        given = getattr(args, action.dest) != action.default
        rules.append((action.option_strings[0], given, is_own, "the kind folder or kitti"))
    return rules
