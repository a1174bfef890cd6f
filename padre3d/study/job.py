"""One run at work: its steps one after another, what it used, its row in the end."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from padre3d.io.files import write_atomic
from padre3d.study.environment import commit, device_name, short_commit, torch_version
from padre3d.study.metrics import MetricsError, costs, read_metrics, select
from padre3d.study.process import Ended, Process, run_environment
from padre3d.study.reuse import take_over
from padre3d.study.spec import METRICS_FILE, Run, Step
from padre3d.study.store import Row

STATE_FILE, LOG_FILE = "study_run.json", "run.log"
SAVE_EVERY_S = 10.0
LOG_TAIL_LINES, LOG_TAIL_BYTES = 40, 16384


@dataclass(frozen=True)
class Settings:
    """How runs are run; none of it changes their results.

    Attributes:
        root: the repository, where commands run.
        work_dir: folder of all runs.
        results: results.jsonl.
        threads: threads per run.
        nice: niceness of the commands.
        jobs: runs at a time.
        budget_s: no run starts that is expected to end later than this after the start, seconds.
        grace_s: how long a command may take to end when it is asked to.
        poll_s: how often the runner looks.
    """

    root: Path
    work_dir: Path
    results: Path
    threads: int = 1
    nice: int = 10
    jobs: int = 1
    budget_s: float | None = None
    grace_s: float = 5.0
    poll_s: float = 0.1

    @property
    def failures(self) -> Path:
        """Where failed runs are recorded."""
        return self.results.with_suffix(".failed.jsonl")


@dataclass
class State:
    """What is known of a run between calls, kept in its folder.

    Attributes:
        started: names of the steps that were started.
        finished: names of the steps that ended well.
        seconds: time used in all attempts.
        peak_memory_mib: of all attempts.
        attempts: number of times the run was started.
        commits: of all attempts, as the report shows them.
        reused_from: the run whose files were taken over, so that ``seconds`` lacks its share.
    """

    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    attempts: int = 0
    commits: list[str] = field(default_factory=list)
    reused_from: str | None = None


class RunFailed(Exception):
    """A run ended without result."""


class Job:
    """One run at work.

    Args:
        run: the run.
        settings: how it is run.
    """

    def __init__(self, run: Run, settings: Settings) -> None:
        self.run, self.settings = run, settings
        run.out.mkdir(parents=True, exist_ok=True)
        self.state = self._load_state()
        self.state.attempts += 1
        self.began = self.noted = time.monotonic()
        # Rows that this or another study has just written change no code.
        results = [settings.results, *settings.results.parent.glob("*.jsonl")]
        self.commit, self.dirty = commit(settings.root, results)
        self._note_commit()
        self.process: Process | None = None
        self.step: Step | None = None
        self.steps = iter(run.steps)

    @property
    def elapsed_s(self) -> float:
        """Seconds since this attempt began."""
        return time.monotonic() - self.began

    def poll(self) -> Row | None:
        """Go on with the next step when one has ended; the result's row when all have.

        Raises:
            RunFailed: if a step failed or its result is missing.
        """
        if self.process is not None:
            ended = self.process.poll()
            if ended is None:
                self._note_time(SAVE_EVERY_S)
                return None
            self._finish_step(ended)
        for step in self.steps:
            if not self._can_skip(step):
                self._start(step)
                return None
        return self._row()

    def stop(self) -> None:
        """End the command and keep what is known; the run is unfinished, not failed."""
        if self.process is not None:
            ended = self.process.stop(self.settings.grace_s)
            self.state.peak_memory_mib = max(self.state.peak_memory_mib, ended.peak_memory_mib)
        self._note_time()

    def failure(self, error: Exception) -> Row:
        """The row of a failed run."""
        return {
            **self._identity(),
            "step": self.step.name if self.step else None,
            "error": str(error),
            "seconds": round(self.elapsed_s, 1),
            "log_tail": self._log_tail(),
        }

    def _start(self, step: Step) -> None:
        command = self.run.command(step, self.settings.threads)
        self.step = step
        self._take_over(step)
        if step.name not in self.state.started:
            self.state.started.append(step.name)
        if step.name in self.state.finished:
            self.state.finished.remove(step.name)
        self._note_time()
        with self._log().open("a") as log:
            log.write(f"{_now()} $ {shlex.join(command)}\n")
        study = self.run.study
        env = run_environment(self.settings.work_dir, self.settings.threads, study.env)
        self.process = Process(command, self.settings.root, env, self._log(), self.settings.nice)

    def _take_over(self, step: Step) -> None:
        """What another run has made already; the log says whose it is."""
        settings = self.settings
        if step.reuse is None or step.name in self.state.started:
            return
        other = take_over(self.run, step.reuse, settings.root, settings.work_dir)
        if other is not None:
            self.state.reused_from = str(other)
            with self._log().open("a") as log:
                log.write(f"{_now()} {', '.join(step.reuse.files)} taken over from {other.out}\n")

    def _finish_step(self, ended: Ended) -> None:
        step, self.process = self.step, None
        assert step is not None
        self.state.peak_memory_mib = max(self.state.peak_memory_mib, ended.peak_memory_mib)
        self._note_time()
        if ended.code != 0:
            how = f"exit status {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
            raise RunFailed(f"step {step.name}: {how}")
        if not self._result(step).exists():
            raise RunFailed(f"step {step.name}: ended well but left no {step.result}")
        self.state.finished.append(step.name)
        self._note_time()

    def _can_skip(self, step: Step) -> bool:
        """Its result is there, and not half a result of an attempt that was cut short."""
        interrupted = step.name in self.state.started and step.name not in self.state.finished
        if interrupted or not self._result(step).exists():
            return False
        if step is not self.run.steps[-1]:
            return True
        try:
            self._metrics()
        except MetricsError:
            return False
        return True

    def _row(self) -> Row:
        try:
            found, metrics = self._metrics()
        except MetricsError as error:
            raise RunFailed(str(error)) from error
        told, used = costs(found), round(self.state.seconds, 3)
        visible = {**os.environ, **self.run.study.env}.get("CUDA_VISIBLE_DEVICES")
        return {
            **self._identity(),
            "overrides": self.run.study.overrides(self.run.variant),
            "device": told["device"] or device_name(visible),
            "threads": self.settings.threads,
            "torch": torch_version(),
            "data": told["data"],
            "metrics": metrics,
            "params": told["params"],
            "macs": told["macs"],
            "seconds": used if told["seconds"] is None else told["seconds"],
            "run_seconds": used,
            "reused_from": self.state.reused_from,
            "attempts": self.state.attempts,
            "peak_memory_mib": round(self.state.peak_memory_mib, 1),
        }

    def _identity(self) -> dict[str, Any]:
        return {
            "study": self.run.study.name,
            "name": self.run.variant,
            "seed": self.run.seed,
            "hash": self.run.hash,
            "commit": self.commit,
            "dirty": self.dirty,
            "commits": self.state.commits,
            "date": _now(),
        }

    def _metrics(self) -> tuple[dict[str, Any], dict[str, float | None]]:
        study = self.run.study
        found = read_metrics(self.settings.root / self.run.out / METRICS_FILE)
        return found, select(found, tuple(study.metrics), study.rename)

    def _result(self, step: Step) -> Path:
        return self.settings.root / self.run.result(step, self.settings.threads)

    def _log(self) -> Path:
        return self.run.out / LOG_FILE

    def _log_tail(self) -> list[str]:
        with self._log().open("rb") as log:
            log.seek(max(0, self._log().stat().st_size - LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return text.splitlines()[-LOG_TAIL_LINES:]

    def _load_state(self) -> State:
        path = self.run.out / STATE_FILE
        return State(**json.loads(path.read_text())) if path.exists() else State()

    def _note_commit(self) -> None:
        """An attempt by other code goes on with what the earlier ones left."""
        name = short_commit(self.commit, self.dirty)
        if name not in self.state.commits:
            self.state.commits.append(name)

    def _note_time(self, every_s: float = 0.0) -> None:
        """Save the state with the time used so far, if it was not saved just before."""
        now = time.monotonic()
        if now - self.noted >= every_s:
            self.state.seconds += now - self.noted
            self.noted = now
            write_atomic(self.run.out / STATE_FILE, json.dumps(asdict(self.state)))


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
