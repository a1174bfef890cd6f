"""All that needs a GPU, in pieces of at most nine minutes that each leave a JSON file.

    python tools/gpu_suite.py                        # what has no result of this commit yet
    python tools/gpu_suite.py --list                 # the pieces
    python tools/gpu_suite.py --only golden,kernels --budget-minutes 12

A piece that passed at this commit is not run again. Results lie in
benchmarks/results/DEVICE/gpu_suite: NAME.json with command, exit status, seconds and counts of
tests, and NAME.log with the output.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from padre3d.cli import add_debug_argument, run_tool
from padre3d.io.files import write_atomic
from padre3d.study.environment import commit, cpu_model

ROOT = Path(__file__).resolve().parent.parent
LOG_TAIL = 20


@dataclass(frozen=True)
class Piece:
    """One command.

    Attributes:
        name: of its result.
        what: one line.
        command: program and arguments; a ``.py`` file or a module of this Python.
        minutes: it is stopped after so long.
        reads_points: whether it takes ``--points FILE``.
    """

    name: str
    what: str
    command: Sequence[str]
    minutes: float = 9.0
    reads_points: bool = False

    @property
    def is_test(self) -> bool:
        """Whether pytest runs it."""
        return list(self.command[:2]) == ["-m", "pytest"]


def tests(name: str, what: str, *paths: str) -> Piece:
    """A piece of the test suite: its tests that need a GPU."""
    return Piece(name, what, ["-m", "pytest", "-q", "-m", "gpu and not slow", *paths])


PIECES = (
    tests("golden", "the reference's arrays on the device", "tests/golden"),
    tests("kernels", "native Triton kernels and operators", "tests/ops", "tests/mixers"),
    tests(
        "stages",
        "pillars to boxes, stage by stage",
        *(f"tests/{part}" for part in ("pillars", "sequences", "backbone", "bev", "head")),
    ),
    tests(
        "detector",
        "detector, CUDA graphs and AMP training",
        "tests/test_detector.py",
        "tests/training",
    ),
    tests(
        "engines", "TensorRT and other engines", "tests/backends", "tests/export", "tests/runtime"
    ),
    Piece("bench_mixers", "Figure 2 and Table 6", ["benchmarks/mixers.py", "--device", "cuda"]),
    Piece(
        "bench_backbone",
        "3-D backbone",
        ["benchmarks/backbone.py", "--device", "cuda"],
        reads_points=True,
    ),
    Piece(
        "bench_detector",
        "points to boxes",
        ["benchmarks/detector.py", "--device", "cuda"],
        reads_points=True,
    ),
    Piece(
        "bench_training",
        "training step",
        ["benchmarks/training.py", "--device", "cuda"],
        reads_points=True,
    ),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", help="pieces, separated by commas")
    add("--list", action="store_true", help="name the pieces and run nothing")
    add("--again", action="store_true", help="run what passed at this commit, too")
    add("--budget-minutes", type=float, help="start no piece that could end later than this")
    add("--points", help="point file of the benchmarks (default: a synthetic cloud)")
    add("--out", type=Path, help="folder of the results")
    add_debug_argument(parser)
    return parser.parse_args(argv)


def selected(only: str | None, pieces: Sequence[Piece] = PIECES) -> list[Piece]:
    """The pieces of these names, in their order.

    Raises:
        ValueError: on an unknown name.
    """
    if only is None:
        return list(pieces)
    names = only.split(",")
    unknown = sorted(set(names) - {piece.name for piece in pieces})
    if unknown:
        raise ValueError(f"--only: expected {[p.name for p in pieces]}, got {unknown[0]!r}")
    return [piece for piece in pieces if piece.name in names]


def run_piece(piece: Piece, out: Path, points: str | None = None) -> dict[str, Any]:
    """Run a piece and write its result; a kill of this tool leaves the earlier result."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *piece.command]
    report = out / f"{piece.name}.xml"
    if piece.is_test:
        command += [f"--junitxml={report}"]
    elif piece.reads_points and points is not None:
        command += ["--points", points]
    head, dirty = commit(ROOT)
    start = time.monotonic()
    with (out / f"{piece.name}.log").open("w") as log:
        try:
            status = subprocess.run(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=piece.minutes * 60
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
    result = {
        "piece": piece.name,
        "command": shlex.join(["python", *command[1:]]),
        "passed": status == 0,
        "exit_status": status,
        "timed_out": status is None,
        "seconds": round(time.monotonic() - start, 1),
        "tests": _counts(report) if piece.is_test and status is not None else None,
        "commit": head,
        "dirty": dirty,
        "device": device_name(),
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    report.unlink(missing_ok=True)
    write_atomic(out / f"{piece.name}.json", json.dumps(result, indent=1) + "\n")
    return result


def _counts(report: Path) -> dict[str, int] | None:
    """Numbers of tests, failures, errors and skipped ones."""
    try:
        suites = ET.parse(report).getroot().iter("testsuite")
    except (OSError, ET.ParseError):
        return None
    keys = ("tests", "failures", "errors", "skipped")
    rows = [[int(suite.get(key, 0)) for key in keys] for suite in suites]
    return dict(zip(keys, map(sum, zip(*rows, strict=True)), strict=True))


def is_done(piece: Piece, out: Path) -> bool:
    """Whether the piece passed at this commit, on this device, without changed files."""
    try:
        result = json.loads((out / f"{piece.name}.json").read_text())
    except (OSError, ValueError):
        return False
    head, dirty = commit(ROOT)
    here = (head, False, device_name())
    return (
        bool(result["passed"])
        and not dirty
        and here == tuple(result[key] for key in ("commit", "dirty", "device"))
    )


def device_name() -> str:
    """The GPU, or the processor where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_model()


def run(args: argparse.Namespace) -> int:
    """Run the pieces; 1 if one did not pass."""
    pieces = selected(args.only)
    if args.list:
        for piece in pieces:
            print(f"{piece.name:16} at most {piece.minutes:g} min  {piece.what}")
        return 0
    if not torch.cuda.is_available():
        raise ValueError("expected a CUDA device, torch sees none")
    folder = device_name().replace(" ", "_")
    out = args.out or ROOT / "benchmarks" / "results" / folder / "gpu_suite"
    start, failed = time.monotonic(), 0
    for piece in pieces:
        if not args.again and is_done(piece, out):
            print(f"{piece.name}: passed at this commit")
            continue
        spent = (time.monotonic() - start) / 60
        if args.budget_minutes is not None and spent + piece.minutes > args.budget_minutes:
            print(f"{piece.name}: no time left")
            continue
        result = run_piece(piece, out, args.points)
        failed += not result["passed"]
        print(_line(result), flush=True)
        if not result["passed"]:
            print("\n".join((out / f"{piece.name}.log").read_text().splitlines()[-LOG_TAIL:]))
    return 1 if failed else 0


def _line(result: dict[str, Any]) -> str:
    word = "passed" if result["passed"] else "stopped" if result["timed_out"] else "FAILED"
    counts = "" if result["tests"] is None else f"  {result['tests']}"
    return f"{result['piece']}: {word} after {result['seconds']:g} s{counts}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_tool(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
