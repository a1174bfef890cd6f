"""Count parameters and MACs: the paper's tables, or any config on any cloud.

    python tools/count.py --table 4                    # printed and computed, side by side
    python tools/count.py configs/dsvt_padre2_nuscenes.py --points frame.bin

MACs are of matrix products and convolutions. --json prints one JSON object instead of a table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from padre3d.analysis.paper_tables import TABLES, table_4
from padre3d.cli import add_debug_argument, check_used, run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", nargs="?", help="config file")
    add("--table", type=int, choices=sorted(TABLES), help="a table of the paper")
    add("--points", type=Path, help="cloud to count on; with --table 4, the real frame's size")
    add("--dtype", choices=("float32", "float16"), help="numbers of a .bin")
    add("--json", action="store_true", help="print JSON")
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    if (args.config is None) == (args.table is None):
        parser.error("expected either CONFIG or --table")
    if args.config and not args.points:
        parser.error("CONFIG needs --points FILE: MACs depend on the cloud")
    return args


def paper_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one of the paper's tables."""
    if args.table == 4 and args.points:
        from padre3d.analysis.detector_counts import frame_size

        return [vars(row) for row in table_4(frame_size(args.points, args.dtype))]
    return [vars(row) for row in TABLES[args.table]()]


def print_table(title: str, rows: list[dict[str, Any]], note: str) -> None:
    """A table with one column per key; what does not reconcile says so."""
    table = Table(title=title, caption=note, caption_justify="left")
    for key in rows[0]:
        text = isinstance(rows[0][key], str | bool)
        table.add_column(key, justify="left" if text else "right", overflow="fold")
    for row in rows:
        cells = [
            f"{v:,.4g}"
            if isinstance(v, float)
            else format(v, ",")
            if type(v) is int
            else {True: "yes", False: "NO"}.get(v, v)
            for v in row.values()
        ]
        table.add_row(*cells)
    Console(width=None).print(table)


def run(args: argparse.Namespace) -> None:
    """Print a table."""
    check_used(
        [
            ("--points", args.points, args.config or args.table == 4, "CONFIG or --table 4"),
            ("--dtype", args.dtype, args.points, "--points"),
        ]
    )
    if args.table:
        rows = paper_rows(args)
        if args.json:
            print(json.dumps(rows, indent=1))
            return
        missing = sum(not row["reconciles"] for row in rows)
        note = f"{missing} of {len(rows)} rows cannot be reconciled with the printed figure"
        print_table(f"Table {args.table}", rows, note)
        return
    from padre3d.analysis.detector_counts import count_detector

    counts = count_detector(args.config, args.points, args.dtype)
    if args.json:
        print(json.dumps(counts, indent=1))
        return
    totals = {k: v for k, v in counts.items() if k != "stages"}
    print_table(args.config, counts["stages"], "\n".join(f"{k}: {v}" for k, v in totals.items()))


def main(argv: list[str] | None = None) -> None:
    """Entry point; bad input is one line on stderr and exit status 1."""
    run_tool(run, parse_args(argv))


if __name__ == "__main__":
    main()
