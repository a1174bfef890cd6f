"""Fill the tables of docs/performance.md from the results and draw one picture per figure.

    python benchmarks/report.py                 # every device under benchmarks/results
    python benchmarks/report.py --check         # fail if a table is not what the results say

A table stands between ``<!-- NAME -->`` and ``<!-- end NAME -->``; all else is written by hand.
Pictures go beside the results they show.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import paper_tables, plots, tables  # noqa: E402
from benchmarks.common import RESULTS, ROOT  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
MAKERS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "conditions": tables.conditions,
    "backbone": tables.backbone,
    "roofline_bound": tables.roofline_bound,
    "mixers": tables.mixers,
    "growth": tables.growth,
    "whole": tables.whole,
    "detector": tables.detector,
    "training": tables.training,
    "train_step": tables.train_step,
    "profile": tables.profile,
    "operators": tables.operators,
    "runtime": tables.runtime,
    "overhead": tables.overhead,
    "cpp_runtime": tables.cpp_runtime,
    "window": paper_tables.window,
    "roofline": paper_tables.roofline,
}


def load(folder: Path) -> list[dict[str, Any]]:
    """All results, with the names of their folder (the device) and file, in their order."""
    return [
        json.loads(path.read_text()) | {"folder": path.parent.name, "file": path.name}
        for path in sorted(folder.glob("*/*.json"))
    ]


def fill(page: str, results: list[dict[str, Any]]) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: if the page has no place for a table.
    """
    for name, make in MAKERS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"page: expected <!-- {name} --> ... <!-- end {name} -->, found none")
        table = make(results)
        page = pattern.sub(lambda m, t=table: f"{m[1]}{t}\n{m[2]}", page)
    return page


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing, compare")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    results = load(args.results)
    page = PAGE.read_text()
    filled = fill(page, results)
    if args.check:
        return int(filled != page)
    PAGE.write_text(filled)
    for result in results:
        if result["benchmark"] in plots.DRAWERS:
            plots.draw(result, args.results / result["folder"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
