"""Kills and signals: nothing lost, nothing twice, nothing left running."""

import json
import signal
import sys

import pytest

from padre3d.study.store import study_lock

SLOW = {"low": {"gain": 0.25, "steps": 6, "step_s": 0.05}, "high": {"gain": 0.5, "steps": 3}}


def kill_when(lab, waiting, condition, number=signal.SIGKILL):
    """Start the runner, send it a signal when the condition holds; its exit status and output."""
    wait_for, _ = waiting
    process = lab.start()
    wait_for(condition, process)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    return process.returncode, output


def test_goes_on_after_kills_at_several_moments(lab, waiting):
    wait_for, is_alive = waiting
    lab.define(variants=SLOW)
    moments = [
        lambda: len(lab.pids()) >= 1,
        lambda: lab.counter("low", 0) >= 2,
        lambda: lab.counter("low", 0) >= 4,
        lambda: lab.results.exists() and lab.results.read_bytes().count(b"\n") >= 1,
        lambda: lab.counter("low", 1) >= 3,
    ]
    for moment in moments:
        status, _ = kill_when(lab, waiting, moment)
        assert status == -signal.SIGKILL
        wait_for(lambda: not any(map(is_alive, lab.pids())))
    assert lab.call() == 0
    rows = lab.lines()
    found = [(row["name"], row["seed"]) for row in rows]
    assert found == [("low", 0), ("high", 0), ("low", 1), ("high", 1)]
    assert [row["metrics"]["accuracy"] for row in rows] == [0.25, 0.5, 0.35, 0.6]
    assert rows[0]["attempts"] >= 3
    assert lab.failures() == []


def test_killed_command_went_on_from_its_own_state(lab, waiting):
    lab.define(variants=SLOW, metrics=("accuracy", "begun"), seeds=(0,))
    kill_when(lab, waiting, lambda: lab.counter("low", 0) >= 2)
    assert lab.call() == 0
    assert lab.lines()[0]["metrics"]["begun"] >= 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_whole_group(lab, waiting, number, status):
    wait_for, is_alive = waiting
    child = (
        "import subprocess, sys\n"
        "if sys.argv[2] == '1' and not open('mended').read():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    open(sys.argv[1] + '/pids', 'a').write(f'{child.pid}\\n')\n"
        "    child.wait()\n"
    ).replace("'mended'", repr(str(lab.folder / "mended")))
    (lab.folder / "mended").write_text("")
    lab.script.write_text(child + lab.script.read_text())
    lab.define(variants={"low": {"gain": 0.25}})
    found, output = kill_when(lab, waiting, lambda: len(lab.pids()) == 2, number)
    assert found == status
    assert "1 runs are left" in output
    wait_for(lambda: not any(map(is_alive, lab.pids())))
    assert len(lab.lines()) == 1
    assert lab.failures() == []
    (lab.folder / "mended").write_text("yes")
    assert lab.call() == 0
    assert [(row["seed"], row["attempts"]) for row in lab.lines()] == [(0, 1), (1, 2)]


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")
def test_detached_leftovers_of_a_killed_runner_are_ended(lab, waiting):
    _, is_alive = waiting
    detach = (
        "import subprocess, sys, time\n"
        f"if not open({str(lab.folder / 'mended')!r}).read():\n"
        "    program = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "    child = subprocess.Popen(program, start_new_session=True)\n"
        "    open(sys.argv[1] + '/pids', 'a').write(f'{child.pid}\\n')\n"
        "    time.sleep(600)\n"
    )
    (lab.folder / "mended").write_text("")
    lab.script.write_text(detach + lab.script.read_text())
    lab.define(variants={"low": {"gain": 0.25}}, seeds=(0,))
    kill_when(lab, waiting, lambda: len(lab.pids()) == 1)
    (pid,) = lab.pids()
    assert is_alive(pid)
    (lab.folder / "mended").write_text("yes")
    assert lab.call() == 0
    assert not is_alive(pid)


def test_second_runner_is_refused(lab, capsys):
    lab.define(seeds=(0,))
    with study_lock(lab.results.with_suffix(".lock")):
        assert lab.call() == 2
    assert "another runner is at work on this study" in capsys.readouterr().err
    with study_lock(lab.work_dir / "study.lock"):
        assert lab.call() == 2
        assert lab.call("--report") == 0
    assert lab.lines() == []
    assert lab.call() == 0


def test_cut_last_line_is_run_again(lab):
    lab.define()
    lab.call()
    before = lab.results.read_text()
    lab.results.write_text(before[:-40])
    with pytest.warns(UserWarning, match="cut short"):
        assert lab.call() == 0
    rows = lab.lines()
    assert [(row["name"], row["seed"]) for row in rows[:3]] == [
        (row["name"], row["seed"]) for row in map(json.loads, before.splitlines()[:3])
    ]
    assert (rows[3]["name"], rows[3]["seed"], len(rows)) == ("high", 1, 4)
