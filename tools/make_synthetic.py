"""Write a synthetic data set in the nuScenes v1.0 schema and print its figures."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from padre3d.cli import add_debug_argument, run_tool
from padre3d.synthetic import generate
from padre3d.synthetic.statistics import format_statistics, real_statistics


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="data root to create")
    parser.add_argument("--scenes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scene-seconds", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--version",
        choices=["v1.0-mini", "v1.0-trainval"],
        help="default: v1.0-mini up to ten scenes",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the data set at --out")
    parser.add_argument("--compare", type=Path, help="annotation of a real frame or its folder")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Make the data set."""
    start = time.perf_counter()
    real = real_statistics(args.compare) if args.compare else None
    statistics = generate(
        args.out,
        args.scenes,
        args.seed,
        args.scene_seconds,
        args.workers,
        args.version,
        args.overwrite,
        progress=True,
    )
    print(format_statistics(statistics, real))
    print(f"wrote {args.out} in {time.perf_counter() - start:.0f} s")


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
