"""results.jsonl survives kills; metrics.json is read by name or suffix; the lock."""

import json
import signal
import subprocess
import sys
import time

import pytest

from padre3d.study.metrics import MetricsError, costs, read_metrics, select
from padre3d.study.store import LockedError, append_row, read_rows, study_lock

APPENDER = """
import sys
from pathlib import Path
from padre3d.study.store import append_row
for number in range(10**6):
    append_row(Path(sys.argv[1]), {"number": number, "text": "x" * 3000})
"""


def test_rows_are_appended(tmp_path):
    path = tmp_path / "new" / "r.jsonl"
    assert read_rows(path) == []
    for number in range(3):
        append_row(path, {"number": number})
    assert [row["number"] for row in read_rows(path)] == [0, 1, 2]


def test_cut_last_line_is_ignored_and_then_removed(tmp_path):
    path = tmp_path / "r.jsonl"
    append_row(path, {"number": 0})
    path.write_text(path.read_text() + '{"number": 1, "met')
    with pytest.warns(UserWarning, match="cut short and ignored"):
        assert read_rows(path) == [{"number": 0}]
    with pytest.warns(UserWarning, match="removed"):
        append_row(path, {"number": 2})
    assert path.read_text() == '{"number": 0}\n{"number": 2}\n'


def test_whole_last_line_without_newline_is_kept(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"number": 0}')
    append_row(path, {"number": 1})
    assert path.read_text() == '{"number": 0}\n{"number": 1}\n'


def test_damage_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"number": 0}\n<<<<<<< HEAD\n{"number": 1}\n')
    with pytest.raises(ValueError, match=r"r\.jsonl:2: expected a JSON object"):
        read_rows(path)


def test_not_finite_number_leaves_the_file_alone(tmp_path):
    path = tmp_path / "r.jsonl"
    append_row(path, {"number": 0})
    with pytest.raises(ValueError, match="JSON compliant"):
        append_row(path, {"number": float("nan")})
    assert read_rows(path) == [{"number": 0}]


def test_kills_while_appending_lose_no_line(tmp_path, repo_root):
    path, total = tmp_path / "r.jsonl", 0
    for delay_s in (0.0, 0.01, 0.023, 0.05):
        process = subprocess.Popen([sys.executable, "-c", APPENDER, str(path)], cwd=repo_root)
        while not path.exists() or len(read_rows(path)) <= total:
            assert process.poll() is None
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        numbers = [row["number"] for row in read_rows(path)][total:]
        assert numbers == list(range(len(numbers)))
        total += len(numbers)


def test_lock_is_for_one(tmp_path):
    lock = tmp_path / "study.lock"
    with study_lock(lock), pytest.raises(LockedError, match="another runner is at work"):
        study_lock(lock).__enter__()
    with study_lock(lock):
        pass


def test_metrics_by_name_suffix_and_nesting(tmp_path):
    path = tmp_path / "metrics.json"
    prefix = "NuScenes metric/pred_instances_3d_NuScenes"
    devkit = {f"{prefix}/NDS": 0.5, f"{prefix}/mAP": 0.25, f"{prefix}/car_mAP": 9.0}
    path.write_text(json.dumps({**devkit, "probe": {"iou": 1}, "params": 7, "seconds": 1.5}))
    found = read_metrics(path)
    names = ("nds", "map", "iou")
    metrics = select(found, names, {"NDS": "nds", "mAP": "map"})
    assert metrics == {"nds": 0.5, "map": 0.25, "iou": 1.0}
    assert costs(found) == {"params": 7, "macs": None, "seconds": 1.5} | dict.fromkeys(
        ("device", "data")
    )
    assert costs({"data": None})["data"] is None
    assert costs({"data/val": "v", "data/train": "t"})["data"] == "t v"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a/m": 1, "b/m": 2}', "2 keys end with it"),
        ('{"n": 1}', "it is not in n"),
        ('{"m": "high"}', "expected a number, got 'high'"),
        ("[1]", "expected an object, got list"),
        ('{"m": ', "expected JSON"),
    ],
)
def test_unusable_metrics_are_named(tmp_path, content, message):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(MetricsError, match=message):
        select(read_metrics(path), ("m",), {})


def test_metric_that_is_not_finite_is_none(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"m": NaN}')
    assert select(read_metrics(path), ("m",), {}) == {"m": None}
