"""All runs of a study: their order, the budget, signals, results."""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from padre3d.study.display import Display
from padre3d.study.job import Job, RunFailed, Settings
from padre3d.study.process import end_leftovers
from padre3d.study.seeds import done_rows
from padre3d.study.shared import all_rows, shared_rows
from padre3d.study.spec import Run
from padre3d.study.store import Row, append_row, study_lock

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Runner:
    """Runs what is not done yet.

    Args:
        runs: the runs wanted, in order.
        settings: how they are run.
        display: what shows them.
    """

    def __init__(self, runs: Sequence[Run], settings: Settings, display: Display) -> None:
        self.runs, self.settings, self.display = runs, settings, display
        self.jobs: list[Job] = []
        self.failed: list[Run] = []
        self.left_out: list[Run] = []
        self.done: dict[tuple[str, int, str], Row] = {}
        self.signal: int | None = None

    def run(self) -> int:
        """Run all of them.

        Returns:
            0; 1 if a run failed; 128 plus the number of the signal that ended it.

        Raises:
            LockedError: if another runner is at work on the study.
        """
        with study_lock(*lock_files(self.settings)), self._signals():
            left = end_leftovers(self.settings.work_dir)
            if left:
                self.display.note(f"ended {len(left)} processes that a killed runner left")
            self.done = done_rows(self.runs, all_rows(self.runs, self.settings.results))
            pending = deque(run for run in self.runs if run.key not in self.done)
            self.began = time.monotonic()
            with self.display.showing(self.runs, self.done):
                try:
                    self._loop(pending)
                finally:
                    self._stop()
                self._say_end(pending)
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.failed else 0

    def _loop(self, pending: deque[Run]) -> None:
        while (pending or self.jobs) and self.signal is None:
            while pending and len(self.jobs) < self.settings.jobs and self.signal is None:
                if not self._fits(pending[0]):
                    self.left_out = list(pending)
                    pending.clear()
                    break
                run = pending.popleft()
                if self._done_elsewhere(run):
                    continue
                self.jobs.append(Job(run, self.settings))
                self.display.started(run)
            # Once at least for every job, without waiting: a run may have nothing left to do.
            for job in list(self.jobs):
                self._look_at(job)
            self.display.refresh()
            if self.jobs:
                time.sleep(self.settings.poll_s)

    def _done_elsewhere(self, run: Run) -> bool:
        """Whether another study has finished the same run since this runner began."""
        found = done_rows([run], shared_rows([run], self.settings.results))
        for row in found.values():
            self.done[run.key] = row
            self.display.note(f"{run}: already run as {row['shared_from']}")
            self.display.finished(run, row)
        return bool(found)

    def _look_at(self, job: Job) -> None:
        try:
            row = job.poll()
        except RunFailed as error:
            self.jobs.remove(job)
            self.failed.append(job.run)
            append_row(self.settings.failures, job.failure(error))
            self.display.failed(job.run, str(error))
            return
        if row is not None:
            self.jobs.remove(job)
            append_row(self.settings.results, row)
            self.done[job.run.key] = row
            self.display.finished(job.run, row)

    def _stop(self) -> None:
        """End all commands; they are asked together, so that they end together."""
        for job in self.jobs:
            if job.process is not None:
                job.process.signal(signal.SIGTERM)
        for job in self.jobs:
            job.stop()

    def _fits(self, run: Run) -> bool:
        """Whether the run is expected to end within the budget; an unknown duration fits."""
        if self.settings.budget_s is None:
            return True
        elapsed = time.monotonic() - self.began
        expected = expected_seconds(run, self.done.values())
        return elapsed + (expected or 0.0) <= self.settings.budget_s

    def _say_end(self, pending: Sequence[Run]) -> None:
        if self.left_out:
            names = ", ".join(map(str, self.left_out))
            self.display.note(f"left out for the budget: {len(self.left_out)} runs: {names}")
        if self.signal is not None:
            name = signal.Signals(self.signal).name
            waiting = len(pending) + len(self.jobs)
            self.display.note(f"{name}: {waiting} runs are left; the next call goes on with them")
        if self.failed:
            self.display.note(f"{len(self.failed)} runs failed: see {self.settings.failures}")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, frame: Any) -> None:
            self.signal = number

        before = {number: signal.signal(number, note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def expected_seconds(run: Run, rows: Any) -> float | None:
    """Expected duration of a run from the finished ones of its study.

    The median of its own variant, else the median of all, None if nothing is known.
    """
    rows = list(rows)
    own = [row["run_seconds"] for row in rows if row["name"] == run.variant]
    known = own or [row["run_seconds"] for row in rows]
    return statistics.median(known) if known else None


def lock_files(settings: Settings) -> tuple[Any, ...]:
    """Lock files of the results and of the work folder: neither may be shared."""
    return settings.results.with_suffix(".lock"), settings.work_dir / "study.lock"
