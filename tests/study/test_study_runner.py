"""The runner: what it runs, skips, runs again, and what it records."""

import json
import os
import resource
import shlex
import subprocess

import pytest

from padre3d.study import Step, job
from padre3d.study.process import THREAD_VARIABLES


def keys(rows):
    return [(row["name"], row["seed"]) for row in rows]


def test_grid_is_run_once(lab, capsys):
    lab.define()
    assert lab.call() == 0
    rows = lab.lines()
    assert keys(rows) == [("low", 0), ("high", 0), ("low", 1), ("high", 1)]
    assert [row["metrics"]["accuracy"] for row in rows] == [0.25, 0.5, 0.35, 0.6]
    assert lab.call() == 0
    assert lab.lines() == rows
    assert len(lab.pids()) == 4
    assert "4 runs, 4 of them done" in capsys.readouterr().out


def own_peak_mib():
    """Linux counts what the parent held at the fork; here that is the whole test process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_row_tells_where_it_comes_from(lab):
    lab.define(variants={"low": {"gain": 0.25}}, seeds=(0,))
    lab.call("--threads", "2")
    (row,) = lab.lines()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=lab.root, capture_output=True, text=True
    )
    assert row["commit"] == (head.stdout.strip() if head.returncode == 0 else None)
    assert isinstance(row["dirty"], bool)
    short = (row["commit"] or "?")[:7] + "+" * row["dirty"]
    assert row["commits"] == [short]
    assert row["data"] is None
    expected = {"study": "lab", "overrides": {"gain": 0.25}, "threads": 2, "attempts": 1}
    assert {key: row[key] for key in expected} == expected
    assert (row["params"], row["macs"]) == (100, 2000)
    assert row["device"]
    assert row["seconds"] == row["run_seconds"] > 0
    assert 1 < row["peak_memory_mib"] < 1000 + own_peak_mib()
    assert row["date"].endswith("+00:00")


def test_row_names_the_commits_of_all_attempts_and_the_data(lab):
    told = '"params": 100, "data": {"val": "v1", "train": "t1"}'
    lab.script.write_text(lab.script.read_text().replace('"params": 100', told))
    study = lab.define(variants={"low": {"gain": 0.25}}, seeds=(0,))
    (run,) = study.runs(lab.root, lab.work_dir)
    run.out.mkdir(parents=True)
    (run.out / "study_run.json").write_text('{"attempts": 1, "commits": ["0123456"]}')
    assert lab.call() == 0
    (row,) = lab.lines()
    assert row["attempts"] == 2
    assert row["commits"] == ["0123456", (row["commit"] or "?")[:7] + "+" * row["dirty"]]
    assert row["data"] == "t1 v1"


def test_rows_of_any_study_are_no_changed_code(lab, monkeypatch):
    seen = []

    def commit(root, written):
        seen.extend(path.name for path in written)
        return None, False

    monkeypatch.setattr(job, "commit", commit)
    for name in ("neighbour.jsonl", "neighbour.failed.jsonl"):
        lab.results.with_name(name).write_text("")
    lab.define(variants={"low": {"gain": 0.25}}, seeds=(0,))
    assert lab.call() == 0
    assert {"results.jsonl", "neighbour.jsonl", "neighbour.failed.jsonl"} <= set(seen)


def test_peak_memory_is_the_commands(lab):
    lab.script.write_text(lab.script.read_text() + "\nkept = bytearray(300 * 2**20)\n")
    lab.define(seeds=(0,))
    lab.call("--only", "low")
    assert 300 < lab.lines()[0]["peak_memory_mib"] < 1000 + own_peak_mib()


def test_threads_and_niceness(lab):
    lab.script.write_text(
        "import json, os, sys\n"
        f"env = {{name: int(os.environ[name]) for name in {THREAD_VARIABLES}}}\n"
        "found = {'accuracy': 0, 'nice': os.nice(0), **env, 'extra': int(os.environ['EXTRA'])}\n"
        "json.dump(found, open(sys.argv[1] + '/metrics.json', 'w'))\n"
    )
    metrics = ("accuracy", "nice", "extra", *THREAD_VARIABLES)
    lab.define(metrics=metrics, seeds=(0,), env={"EXTRA": "5"})
    lab.call("--threads", "3", "--nice", "4")
    found = lab.lines()[0]["metrics"]
    assert found["nice"] == min(os.nice(0) + 4, 19)
    assert found["extra"] == 5
    assert {found[name] for name in THREAD_VARIABLES} == {3}


def test_changed_overrides_run_again(lab, capsys):
    lab.define()
    lab.call()
    lab.define(variants={"low": {"gain": 0.25}, "high": {"gain": 0.75}})
    assert lab.call() == 0
    rows = lab.lines()
    assert keys(rows[4:]) == [("high", 0), ("high", 1)]
    # The new runs began anew: nothing of the earlier configuration's folder was continued.
    assert [row["metrics"]["accuracy"] for row in rows[4:]] == [0.75, 0.85]
    capsys.readouterr()
    lab.call("--report", "--json", "-")
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["high"]["mean"] == pytest.approx(0.8)
    assert found["high"]["seeds"] == 2


def test_metric_that_was_reported_costs_no_run(lab):
    lab.define()
    lab.call()
    lab.define(metrics=("accuracy", "begun"))
    assert lab.call() == 0
    assert [row["metrics"]["begun"] for row in lab.lines()[4:]] == [0, 0, 0, 0]
    assert len(lab.pids()) == 4


def test_selection(lab, capsys):
    lab.define()
    assert lab.call("--dry-run") == 0
    assert capsys.readouterr().out.count("waiting") == 4
    assert not lab.results.exists()
    assert lab.call("--only", "high", "--seeds", "1") == 0
    assert keys(lab.lines()) == [("high", 1)]
    assert lab.call("--only", "best") == 2
    assert lab.call("--seeds", "7") == 2
    assert "got 7" in capsys.readouterr().err


def test_commands_of_a_dry_run_are_those_of_a_shell(lab, capsys):
    variants, command = {"low": {"gain": 0.25}}, [*lab.command, "two words", "[1];$HOME"]
    study = lab.define(variants=variants, command=command, seeds=(0,))
    (run,) = study.runs(lab.root, lab.work_dir)
    assert lab.call("--dry-run") == 0
    (line,) = (s for s in capsys.readouterr().out.splitlines() if s.startswith("    "))
    assert shlex.split(line.partition(": ")[2]) == run.command(run.steps[0], 1)


def test_failed_run_is_recorded_and_tried_again(lab, capsys):
    guard = f"""
import sys
from pathlib import Path
mended = Path({str(lab.folder / "mended")!r}).exists()
if sys.argv[3] == "low" and sys.argv[2] == "0" and not mended:
    print("out of luck")
    sys.exit(3)
"""
    lab.script.write_text(guard + lab.script.read_text())
    lab.define()
    assert lab.call() == 1
    assert keys(lab.lines()) == [("high", 0), ("low", 1), ("high", 1)]
    assert lab.call("--only", "low") == 1
    failures = lab.failures()
    assert keys(failures) == [("low", 0), ("low", 0)]
    assert failures[0]["error"] == "step run: exit status 3"
    assert failures[0]["log_tail"][-1] == "out of luck"
    (lab.folder / "mended").touch()
    assert lab.call() == 0
    assert keys(lab.lines())[3:] == [("low", 0)]
    assert lab.lines()[3]["attempts"] == 3
    assert len(lab.failures()) == 2
    assert "FAILED low seed 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("pass", "step run: ended well but left no metrics.json"),
        ("import os; os.kill(os.getpid(), 9)", "step run: signal 9"),
        ("import sys; open(sys.argv[1] + '/metrics.json', 'w').write('{}')", "metric accuracy"),
    ],
)
def test_how_a_run_failed_is_said(lab, script, error):
    lab.script.write_text(script)
    lab.define(seeds=(0,))
    assert lab.call("--only", "low") == 1
    assert error in lab.failures()[0]["error"]
    # A metrics.json without the metric must not count as finished at the next call.
    assert lab.call("--only", "low") == 1
    assert len(lab.failures()) == 2
    assert lab.lines() == []


def test_command_that_does_not_exist_fails_its_run(lab):
    lab.define(command=["no-such-program", "{options}"], seeds=(0,))
    assert lab.call("--only", "low") == 1
    assert "no-such-program" in lab.failures()[0]["log_tail"][-1]


def test_steps_are_skipped_when_done(lab):
    train, test = lab.folder / "train.py", lab.folder / "test.py"
    train.write_text(
        "import sys; open(sys.argv[1] + '/calls', 'a').write('train\\n')\n"
        "open(sys.argv[1] + '/weights', 'w').write('1')\n"
    )
    test.write_text(
        "import json, sys, pathlib; out = pathlib.Path(sys.argv[1])\n"
        "assert (out.parent.parent.parent / 'mended').exists()\n"
        "json.dump({'x/ACC': 0.5}, (out / 'metrics.json').open('w'))\n"
    )
    steps = [
        Step("train", [str(train), "{out}", "{options}"], "weights"),
        Step("test", [str(test), "{out}"], "metrics.json"),
    ]
    lab.define(steps=steps, rename={"ACC": "accuracy"}, seeds=(0,))
    assert lab.call("--only", "low") == 1
    assert lab.failures()[0]["step"] == "test"
    (lab.folder / "mended").touch()
    assert lab.call("--only", "low") == 0
    (out,) = lab.work_dir.glob("low/*")
    assert (out / "calls").read_text() == "train\n"
    assert lab.lines()[0]["metrics"] == {"accuracy": 0.5}
    # A kill between the weights and the end of the step: the weights may be half of it.
    state = json.loads((out / "study_run.json").read_text())
    (out / "study_run.json").write_text(json.dumps({**state, "finished": ["test"]}))
    lab.results.unlink()
    assert lab.call("--only", "low") == 0
    assert (out / "calls").read_text() == "train\ntrain\n"


def test_budget_leaves_out_what_would_not_end_in_time(lab, capsys):
    lab.define(seeds=(0, 1, 2))
    lab.call("--seeds", "0")
    low, high = lab.lines()
    rows = [{**low, "run_seconds": 90.0}, {**high, "run_seconds": 200.0}]
    lab.results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert lab.call("--budget-minutes", "2") == 0
    assert keys(lab.lines()) == [("low", 0), ("high", 0), ("low", 1)]
    out = capsys.readouterr().out
    assert "left out for the budget: 3 runs: high seed 1, low seed 2, high seed 2" in out


def test_jobs_run_side_by_side(lab):
    # Each command waits for the other one: one at a time would never end.
    meet = f"""
import sys, time
from pathlib import Path
meeting = Path({str(lab.folder)!r}) / "meeting"
meeting.mkdir(exist_ok=True)
(meeting / sys.argv[3]).touch()
for _ in range(3000):
    if len(list(meeting.iterdir())) == 2:
        break
    time.sleep(0.01)
else:
    sys.exit("alone")
"""
    lab.script.write_text(meet + lab.script.read_text())
    lab.define(seeds=(0,))
    assert lab.call("--jobs", "2") == 0
    assert sorted(keys(lab.lines())) == [("high", 0), ("low", 0)]
