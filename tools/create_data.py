"""Prepare a data set: infos and ground-truth database.

Example:
    python tools/create_data.py nuscenes --root-path data/nuscenes --version v1.0-trainval
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=["nuscenes"], help="kind of data set")
    parser.add_argument("--root-path", type=Path, default=Path("data/nuscenes"))
    parser.add_argument(
        "--version",
        default="v1.0-trainval",
        choices=["v1.0-trainval", "v1.0-mini", "v1.0-test"],
        help="which tables of the directory",
    )
    parser.add_argument("--out-dir", type=Path, help="default: the root path")
    parser.add_argument("--extra-tag", default="nuscenes", help="first word of the file names")
    parser.add_argument("--max-sweeps", type=int, default=10, help="past sweeps per frame")
    parser.add_argument(
        "--categories",
        type=Path,
        help="JSON object {annotation category: class}; default: the ten detection classes",
    )
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    return parser.parse_args()


def main() -> int:
    """Run; an expected error ends with one line."""
    args = parse_args()
    from padre3d.data.prepare import prepare_nuscenes

    try:
        categories = json.loads(args.categories.read_text()) if args.categories else None
        written = prepare_nuscenes(
            args.root_path,
            args.version,
            out=args.out_dir,
            tag=args.extra_tag,
            max_sweeps=args.max_sweeps,
            categories=categories,
            workers=args.workers,
        )
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
