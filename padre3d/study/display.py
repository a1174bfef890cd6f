"""What a runner shows: a live table on a terminal, lines of text elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from padre3d.study.seeds import by_seed, summarize
from padre3d.study.spec import Run
from padre3d.study.store import Row

REFRESH_S = 0.5
COLORS = {"done": "green", "running": "yellow", "failed": "red", "waiting": "dim"}


class Display:
    """States of all runs.

    Args:
        console: where they are shown.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.runs: Sequence[Run] = ()
        self.rows: dict[tuple[str, int, str], Row] = {}
        self.since: dict[tuple[str, int, str], float] = {}
        self.broken: set[tuple[str, int, str]] = set()
        self.live: Live | None = None
        self.drawn = 0.0

    @contextlib.contextmanager
    def showing(self, runs: Sequence[Run], rows: dict[tuple[str, int, str], Row]) -> Iterator[None]:
        """Show the runs while the context lasts.

        Args:
            runs: all runs.
            rows: results by ``Run.key``.
        """
        self.runs, self.rows = runs, dict(rows)
        self.note(f"{len(runs)} runs, {len(rows)} of them done")
        if not self.console.is_terminal:
            yield
            return
        with Live(self.table(), console=self.console, auto_refresh=False) as self.live:
            try:
                yield
            finally:
                self.refresh(force=True)
                self.live = None

    def started(self, run: Run) -> None:
        """A run began."""
        self.since[run.key] = time.monotonic()
        self._line(f"start {run} in {run.out}")

    def finished(self, run: Run, row: Row) -> None:
        """A run has its result."""
        self.since.pop(run.key, None)
        self.rows[run.key] = row
        figures = ", ".join(f"{k} {_number(v)}" for k, v in row["metrics"].items())
        self._line(f"done {run} after {duration(row['run_seconds'])}: {figures}")

    def failed(self, run: Run, error: str) -> None:
        """A run failed."""
        self.since.pop(run.key, None)
        self.broken.add(run.key)
        self.note(f"FAILED {run}: {error}; log in {run.out}")

    def note(self, text: str) -> None:
        """A line for the user, on terminals too."""
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, soft_wrap=True)

    def refresh(self, force: bool = False) -> None:
        """Draw the table again if it is time."""
        if self.live and (force or time.monotonic() - self.drawn > REFRESH_S):
            self.drawn = time.monotonic()
            self.live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """A line per variant: the state of each seed's run, and the means so far."""
        study = self.runs[0].study
        variants = list(dict.fromkeys(run.variant for run in self.runs))
        seeds = list(dict.fromkeys(run.seed for run in self.runs))
        table = Table(title=study.name)
        table.add_column("variant")
        for seed in seeds:
            table.add_column(f"seed {seed}")
        for metric in study.metrics:
            table.add_column(f"mean {metric}", justify="right")
        cells = {(run.variant, run.seed): self._state(run) for run in self.runs}
        for variant in variants:
            table.add_row(
                variant,
                *(cells.get((variant, seed), "") for seed in seeds),
                *(self._mean(variant, metric) for metric in study.metrics),
            )
        return table

    def _state(self, run: Run) -> str:
        if run.key in self.rows:
            state, seconds = "done", self.rows[run.key]["run_seconds"]
        elif run.key in self.since:
            state, seconds = "running", time.monotonic() - self.since[run.key]
        else:
            state, seconds = "failed" if run.key in self.broken else "waiting", None
        text = state if seconds is None else f"{state} {duration(seconds)}"
        return f"[{COLORS[state]}]{text}[/]"

    def _mean(self, variant: str, metric: str) -> str:
        summary = summarize(by_seed(self.rows.values(), variant, metric).values())
        return "" if summary is None else f"{_number(summary.mean)} ({summary.seeds})"

    def _line(self, text: str) -> None:
        if self.live is None:
            self.note(text)
        else:
            self.refresh(force=True)


def duration(seconds: float) -> str:
    """Seconds as ``12 s``, ``3:05 min`` or ``2:03 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
