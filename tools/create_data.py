"""Prepare a data set: infos and ground-truth database.

Examples:
    python tools/create_data.py nuscenes --root-path data/nuscenes --version v1.0-trainval
    python tools/create_data.py folder --root-path data/mine
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from create_folder import add_folder_arguments, prepare_folder, unused_options

from padre3d.cli import add_debug_argument, check_used, run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=["nuscenes", "folder", "kitti"], help="kind of data set")
    parser.add_argument("--root-path", type=Path, default=Path("data/nuscenes"))
    parser.add_argument(
        "--version",
        help="which tables of the directory: v1.0-trainval (default), v1.0-mini, v1.0-test, or any "
        "with a splits.json beside them",
    )
    parser.add_argument("--out-dir", type=Path, help="default: the root path")
    parser.add_argument("--extra-tag", default="nuscenes", help="first word of the file names")
    parser.add_argument(
        "--max-sweeps",
        type=int,
        default=10,
        help="past sweeps listed per frame; 0: key frames alone. A "
        "folder's clouds have at most so many sweeps, the key frame included",
    )
    parser.add_argument(
        "--categories",
        type=Path,
        help="JSON object {annotation category: class}; default: the ten detection classes",
    )
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    add_folder_arguments(parser)
    add_debug_argument(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Prepare, and print what was written."""
    check_used(unused_options(args))
    written = prepare_folder(args) if args.dataset != "nuscenes" else prepare(args)
    for path in written:
        print(path)


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


def prepare(args: argparse.Namespace) -> list[Path]:
    """Prepare nuScenes; returns what was written."""
    from padre3d.data.prepare import prepare_nuscenes
    from padre3d.data.text_files import read_json

    return prepare_nuscenes(
        args.root_path,
        args.version or "v1.0-trainval",
        out=args.out_dir,
        tag=args.extra_tag,
        max_sweeps=args.max_sweeps,
        categories=read_json(args.categories, "categories") if args.categories else None,
        workers=args.workers,
    )


if __name__ == "__main__":
    main()
