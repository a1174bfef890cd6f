"""One command in a process group of its own, with its memory and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

LAUNCH = Path(__file__).with_name("launch.py")
MARK = "PADRE3D_STUDY_WORK_DIR"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# ru_maxrss is in KiB on Linux and in bytes on macOS.
MAXRSS_PER_MIB = 1024**2 if sys.platform == "darwin" else 1024


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        code: exit status, or minus the signal's number.
        peak_memory_mib: largest resident set of the process or one of its children, MiB.
    """

    code: int
    peak_memory_mib: float


class Process:
    """A running command.

    Args:
        command: program and arguments.
        cwd: where it runs.
        env: its environment.
        log: file that its output is appended to.
        niceness: added to the runner's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        niceness: int,
    ) -> None:
        launcher = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(niceness)]
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [*launcher, *command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.ended: Ended | None = None

    def poll(self, block: bool = False) -> Ended | None:
        """How it ended, None while it runs."""
        flags = os.WEXITED | os.WNOWAIT | (0 if block else os.WNOHANG)
        if self.ended is None and os.waitid(os.P_PID, self.popen.pid, flags) is not None:
            # The group's number is ours until its leader is reaped: what it left is ended first.
            self.signal(signal.SIGKILL)
            _, status, usage = os.wait4(self.popen.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self.popen.returncode = code
            self.ended = Ended(code, usage.ru_maxrss / MAXRSS_PER_MIB)
        return self.ended

    def signal(self, number: int) -> None:
        """Send a signal to the command and its children, if it was not seen to end."""
        if self.ended is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, number)

    def stop(self, grace_s: float) -> Ended:
        """Ask it to end, then make it end."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.signal(signal.SIGKILL)
        ended = self.poll(block=True)
        assert ended is not None
        return ended


def run_environment(work_dir: Path, threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """Environment of a study's command: number of threads, and the mark of its work folder."""
    limits = {name: str(threads) for name in THREAD_VARIABLES}
    return {**os.environ, **limits, **extra, MARK: str(work_dir.resolve())}


def end_leftovers(work_dir: Path, patience_s: float = 10.0) -> set[int]:
    """Kill what a killed runner left behind (call it under the lock); Linux only.

    Returns:
        The processes ended: those that carry the mark of this work folder.

    Raises:
        RuntimeError: if one is still there after the patience.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + patience_s
    while found := _marked(work_dir) - _own_line():
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes of an earlier runner do not end: {sorted(found)}")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= found
        time.sleep(0.02)
    return ended


def _marked(work_dir: Path) -> set[int]:
    mark = f"{MARK}={work_dir.resolve()}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def _own_line() -> set[int]:
    """This process and those it descends from."""
    line, pid = set(), os.getpid()
    while pid > 1 and pid not in line:
        line.add(pid)
        try:
            # The name in parentheses may hold spaces; the parent is the second field after it.
            stat = Path(f"/proc/{pid}/stat").read_text()
            pid = int(stat.rpartition(")")[2].split()[1])
        except OSError:
            break
    return line
