"""A study in a temporary folder, with commands that the test writes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from padre3d.study.spec import load_study

# Resumable: it goes on from its counter. It refuses to run twice at the same time.
COMMAND = """
import fcntl, json, os, sys, time
from pathlib import Path

out, seed, variant = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
options = dict(pair.split("=", 1) for pair in sys.argv[5:])
lock = (out / "in_use").open("w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
with (out / "pids").open("a") as file:
    file.write(f"{os.getpid()}\\n")
counter = out / "counter"
begun = int(counter.read_text()) if counter.exists() else 0
for step in range(begun, int(options.get("steps", 1))):
    time.sleep(float(options.get("step_s", 0)))
    (out / "counter.new").write_text(str(step + 1))
    os.replace(out / "counter.new", counter)
gain = float(options.get("gain", 0))
print("finished with gain", gain)
metrics = {"accuracy": gain + 0.1 * seed, "begun": begun}
(out / "metrics.json").write_text(json.dumps({**metrics, "params": 100, "macs": 2000}))
"""
PATIENCE_S = 60


class Lab:
    """A study file, its command and its results."""

    def __init__(self, folder: Path, repo_root: Path, main):
        self.folder, self.root, self.main = folder, repo_root, main
        self.study_file = folder / "study_file.py"
        self.results = folder / "results.jsonl"
        self.work_dir = folder / "work"
        self.script = folder / "command.py"
        self.script.write_text(COMMAND)
        self.command = [str(self.script), "{out}", "{seed}", "{variant}", "{options}"]

    def define(self, **fields):
        """Write the study file and return its study."""
        fields = {
            "name": "lab",
            "variants": {"low": {"gain": 0.25}, "high": {"gain": 0.5}},
            "metrics": ("accuracy",),
            "seeds": (0, 1),
            "baseline": "low",
            **({} if "steps" in fields else {"command": self.command}),
            **fields,
        }
        text = ", ".join(f"{key}={value!r}" for key, value in fields.items())
        self.study_file.write_text(
            f"from padre3d.study import Reuse, Step, Study\nSTUDY = Study({text})"
        )
        return load_study(self.study_file)

    def arguments(self, *more):
        paths = ["--results", self.results, "--work-dir", self.work_dir]
        return [str(self.study_file), *map(str, paths), *more]

    def call(self, *more):
        """Call tools/study.py in this process; its exit status."""
        return self.main(self.arguments(*more))

    def start(self, *more):
        """Start tools/study.py as a process."""
        return subprocess.Popen(
            [sys.executable, str(self.root / "tools" / "study.py"), *self.arguments(*more)],
            env={**os.environ, "PYTHONPATH": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def lines(self):
        """All lines of the results, which must be whole."""
        text = self.results.read_text() if self.results.exists() else ""
        assert text == "" or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def failures(self):
        path = self.results.with_suffix(".failed.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def pids(self):
        """Processes of all runs, the latest last in each."""
        files = sorted(self.work_dir.glob("*/*/pids"))
        return [int(pid) for file in files for pid in file.read_text().split()]

    def counter(self, variant, seed):
        files = list(self.work_dir.glob(f"{variant}/seed{seed}-*/counter"))
        return int(files[0].read_text()) if files else 0


def wait_for(condition, process=None):
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def is_alive(pid):
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="session")
def study_main(repo_root):
    spec = importlib.util.spec_from_file_location("study_tool", repo_root / "tools" / "study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def lab(tmp_path, repo_root, study_main):
    lab = Lab(tmp_path, repo_root, study_main)
    yield lab
    for pid in lab.pids():
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def waiting():
    """``wait_for`` and ``is_alive``."""
    return wait_for, is_alive
