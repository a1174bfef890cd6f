"""Look point clouds over before inference: ``python tools/check_cloud.py POINTS [POINTS ...]``.

Says for each file what it holds, whether the model can use it, and the option that mends it; the
same options are those of tools/infer.py. Nothing is written and no model is needed.
"""

from __future__ import annotations

import argparse
import sys

from padre3d.cli import run_tool
from padre3d.command.inspect import add_arguments, run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point; exit status 1 if a file could not be read."""
    if run_tool(run, parse_args(argv)):
        sys.exit(1)


if __name__ == "__main__":
    main()
