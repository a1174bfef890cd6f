"""Run and report an accuracy study: ``python tools/study.py studies/NAME.py``.

    python tools/study.py studies/NAME.py                          # run what is not done yet
    python tools/study.py studies/NAME.py --report                 # table of the results
    python tools/study.py studies/NAME.py --report --json -        # rows {name, metric, mean, ...}
    python tools/study.py studies/NAME.py --plot accuracy.png --cost macs

Any call goes on where an earlier one was killed. See docs/studies.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from padre3d.cli import add_debug_argument, check_targets, check_used, run_tool
from padre3d.io.files import write_atomic
from padre3d.study.display import Display
from padre3d.study.job import Settings
from padre3d.study.plot import LABELS, plot
from padre3d.study.report import json_rows, markdown, terminal_table
from padre3d.study.runner import Runner
from padre3d.study.seeds import done_rows
from padre3d.study.shared import all_rows
from padre3d.study.spec import Run, Study, load_study
from padre3d.study.store import Row

ROOT = Path(__file__).resolve().parent.parent
PLAIN_WIDTH = 240


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("study", type=Path, help="study file, which defines STUDY")
    add("--results", type=Path, help="results file (default: studies/results/NAME.jsonl)")
    add("--work-dir", type=Path, help="folders of the runs (default: work_dirs/studies/NAME)")
    add("--only", help="variants, separated by commas")
    add("--seeds", help="seeds, separated by commas")
    run = parser.add_argument_group("running").add_argument
    run("--jobs", type=positive_int, default=1, help="runs at a time")
    run("--threads", type=positive_int, default=1, help="threads per run")
    run("--nice", type=int, default=10, help="niceness of the runs")
    run("--budget-minutes", type=float, help="start no run expected to end later than this")
    run("--dry-run", action="store_true", help="list the runs and their commands")
    report = parser.add_argument_group("reporting, nothing is run").add_argument
    report("--report", action="store_true", help="print a table of the results")
    report("--json", metavar="FILE", help="with --report: write rows as JSON; - prints them")
    report("--markdown", action="store_true", help="with --report: print Markdown")
    report("--plot", type=Path, metavar="PICTURE", help="draw accuracy against cost")
    report("--cost", choices=list(LABELS), help="of --plot (default: params)")
    report("--metrics", help="of --report, separated by commas (default: the study's)")
    report("--finished", action="store_true", help="of --report: variants with results only")
    report("--metric", help="of --plot (default: the study's first)")
    add_debug_argument(parser)
    args = parser.parse_args(argv)
    if (args.json or args.markdown) and not args.report:
        parser.error("--json and --markdown are forms of --report")
    return args


def positive_int(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text}")
    return value


def select_runs(runs: Sequence[Run], only: str | None, seeds: str | None) -> list[Run]:
    """The runs that ``--only`` and ``--seeds`` name.

    Raises:
        ValueError: if one is not the study's.
    """
    study = runs[0].study
    names = only.split(",") if only else list(study.variants)
    numbers = [int(seed) for seed in seeds.split(",")] if seeds else list(study.seeds)
    for given, known, what in (
        (names, study.variants, "--only"),
        (numbers, study.seeds, "--seeds"),
    ):
        unknown = [item for item in given if item not in known]
        if unknown:
            raise ValueError(f"{what}: expected some of {list(known)}, got {unknown[0]!r}")
    return [run for run in runs if run.variant in names and run.seed in numbers]


def settings_of(args: argparse.Namespace, study: Study) -> Settings:
    """Folders and limits."""
    results = args.results or ROOT / "studies" / "results" / f"{study.name}.jsonl"
    work_dir = args.work_dir or ROOT / "work_dirs" / "studies" / study.name
    budget = None if args.budget_minutes is None else 60 * args.budget_minutes
    return Settings(
        root=ROOT,
        work_dir=work_dir.resolve(),
        results=results.resolve(),
        threads=args.threads,
        nice=args.nice,
        jobs=args.jobs,
        budget_s=budget,
    )


def print_plan(runs: Sequence[Run], rows: Sequence[Row], settings: Settings) -> None:
    """``--dry-run``: the runs with their states and commands."""
    done = done_rows(runs, rows)
    for run in runs:
        print(f"{'done   ' if run.key in done else 'waiting'} {run} -> {run.out}")
        for step in run.steps:
            print(f"    {step.name}: {shlex.join(run.command(step, settings.threads))}")
    print(f"{len(runs)} runs, {len(done)} of them done")


def with_metrics(study: Study, names: Sequence[str]) -> Study:
    """The study with some of its metrics.

    Raises:
        ValueError: if it has no metric of a name.
    """
    unknown = [name for name in names if name not in study.metrics]
    if unknown:
        raise ValueError(f"--metrics: expected some of {list(study.metrics)}, got {unknown[0]!r}")
    kept = {key: name for key, name in study.rename.items() if name in names}
    return dataclasses.replace(study, metrics=tuple(names), rename=kept)


def report(
    args: argparse.Namespace, runs: Sequence[Run], every: Sequence[Run], rows: Sequence[Row]
) -> None:
    """``--report`` and ``--plot`` of some of the study's runs; differences need the baseline's."""
    study = runs[0].study
    fitting = done_rows(every, rows)
    shown = {run.key for run in runs}
    seeds = {run.seed for run in runs}
    done = [
        row
        for key, row in fitting.items()
        if key in shown or (row["name"] == study.baseline and row["seed"] in seeds)
    ]
    variants = [name for name in study.variants if any(run.variant == name for run in runs)]
    if args.finished:
        variants = [name for name in variants if any(row["name"] == name for row in done)]
    if args.metrics:
        study = with_metrics(study, args.metrics.split(","))
    if args.json:
        text = json.dumps(json_rows(study, variants, done), indent=1)
        if args.json == "-":
            print(text)
        else:
            write_atomic(args.json, text + "\n")
    if args.markdown:
        print(markdown(study, variants, done))
    elif args.report and not args.json:
        console = Console()
        width = None if console.is_terminal else PLAIN_WIDTH
        Console(width=width).print(terminal_table(study, variants, done))
    stale = sum((r.get("name"), r.get("seed"), r.get("hash")) not in fitting for r in rows)
    if stale:
        print(f"{stale} rows are of other runs or configurations and left out", file=sys.stderr)
    if args.plot:
        metric = args.metric or study.metrics[0]
        if metric not in study.metrics:
            raise ValueError(f"--metric: expected one of {list(study.metrics)}, got {metric!r}")
        lost = plot(study, variants, done, metric, args.cost or "params", args.plot)
        if lost:
            print(f"not in the picture: {', '.join(lost)}", file=sys.stderr)


def check_args(args: argparse.Namespace) -> None:
    """Refuse options without effect, and outputs over inputs."""
    reports = args.report or args.plot is not None
    check_used(
        [
            ("--metrics", args.metrics, args.report, "--report"),
            ("--finished", args.finished, args.report, "--report"),
            ("--metric", args.metric, args.plot, "--plot"),
            ("--cost", args.cost, args.plot, "--plot"),
            ("--dry-run", args.dry_run, not reports, "no --report or --plot"),
            ("--budget-minutes", args.budget_minutes, not reports, "no --report or --plot"),
        ]
    )
    written = None if args.json == "-" else args.json
    check_targets([("--json", written), ("--plot", args.plot)], [args.study, args.results])


def run(args: argparse.Namespace) -> int:
    """Run what is not done, or report; returns the exit status."""
    check_args(args)
    study = load_study(args.study)
    settings = settings_of(args, study)
    every = study.runs(ROOT, settings.work_dir)
    runs = select_runs(every, args.only, args.seeds)
    if args.report or args.plot:
        report(args, runs, every, all_rows(every, settings.results))
        return 0
    if args.dry_run:
        print_plan(runs, all_rows(runs, settings.results), settings)
        return 0
    return Runner(runs, settings, Display(Console())).run()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status, 2 for bad input."""
    try:
        return run_tool(run, parse_args(argv), status=2)
    except SystemExit as stop:
        return int(stop.code or 0)


if __name__ == "__main__":
    sys.exit(main())
