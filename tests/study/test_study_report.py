"""Reports against values worked out by hand."""

import json
import math
import subprocess
import sys

import pytest

# Differences to the baseline at the common seeds 0 and 1: 0.2 and 0.4.
ACCURACY = {"low": {0: 0.1, 1: 0.2, 2: 0.6}, "high": {0: 0.3, 1: 0.6}, "single": {2: 0.5}}

BLOCKED = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mmdet3d", "mmengine", "mmdet", "mmcv", "torch", "matplotlib"}:
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def reported(lab):
    """The lab with results of three variants, not run."""
    variants = {"low": {"gain": 1}, "high": {"gain": 2}, "single": {"gain": 3}, "none": {"gain": 4}}
    study = lab.define(variants=variants, seeds=(0, 1, 2))
    with lab.results.open("w") as file:
        for name, values in ACCURACY.items():
            for seed, value in values.items():
                row = {
                    **{"name": name, "seed": seed, "hash": study.config_hash(name, lab.root)},
                    **{"metrics": {"accuracy": value}, "params": 1000 * len(name), "macs": None},
                    **{"seconds": 10.0 + seed, "run_seconds": 1.0, "device": "cpu", "threads": 1},
                    **{"torch": "2.4.0", "commit": "0123456789", "dirty": True},
                }
                file.write(json.dumps(row) + "\n")
        file.write(json.dumps({**row, "hash": "other"}) + "\n")
    return lab


def test_json_rows(reported, capsys):
    assert reported.call("--report", "--json", "-") == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert rows == [
        {
            **{"name": "low", "metric": "accuracy", "seeds": 3},
            # Deviations from 0.3: -0.2, -0.1, 0.3; their squares add up to 0.14.
            **{"mean": pytest.approx(0.3), "spread": pytest.approx(math.sqrt(0.14 / 2))},
        },
        {
            **{"name": "high", "metric": "accuracy", "seeds": 2},
            **{"mean": pytest.approx(0.45), "spread": pytest.approx(math.sqrt(0.045))},
        },
        {"name": "single", "metric": "accuracy", "seeds": 1, "mean": 0.5, "spread": None},
    ]
    assert "1 rows are of other runs or configurations" in err
    target = reported.folder / "rows.json"
    reported.call("--report", "--json", str(target))
    assert json.loads(target.read_text()) == rows


def test_caption_names_all_commits_and_says_when_data_differ(reported, capsys):
    assert reported.call("--report", "--markdown") == 0
    assert "DATA" not in capsys.readouterr().out
    rows = [json.loads(line) for line in reported.results.read_text().splitlines()]
    rows[0].update(commits=["89abcde", "fedcba9+"], data="one")
    rows[1].update(data="two")
    reported.results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert reported.call("--report", "--markdown") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "Commit: 0123456+, 89abcde, fedcba9+. The rows are of DIFFERENT DATA." in last


def test_markdown(reported, capsys):
    assert reported.call("--report", "--markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        "| variant | seeds | accuracy | accuracy - low | parameters | MACs | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| low | 3 | 0.3000 ± 0.2646 | - | 3,000 | - | 11.0 |",
        # Paired: mean 0.3, spread |0.4 - 0.2| / sqrt(2).
        "| high | 2 | 0.4500 ± 0.2121 | +0.3000 ± 0.1414 (2) | 4,000 | - | 10.5 |",
        "| single | 1 | 0.5000 | -0.1000 (1) | 6,000 | - | 12.0 |",
        "| none | 0 | - | - | - | - | - |",
    ]
    assert "Device: cpu. Threads: 1. Torch: 2.4.0. Commit: 0123456+." in lines[-1]


def test_a_variant_alone_keeps_its_differences_to_the_baseline(reported, capsys):
    reported.call("--report", "--markdown")
    (whole,) = [line for line in capsys.readouterr().out.splitlines() if "| high |" in line]
    reported.call("--report", "--markdown", "--only", "high")
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("| ")][2:] == [whole]
    assert "+0.3000 ± 0.1414 (2)" in whole
    assert "1 rows are of other runs or configurations" in err


def test_selected_seeds_only(reported, capsys):
    reported.call("--report", "--json", "-", "--seeds", "2", "--only", "low")
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["mean"], row["spread"], row["seeds"]) == (0.6, None, 1)


def test_value_that_is_not_finite_is_left_out_and_said(reported, capsys):
    text = reported.results.read_text().replace('"accuracy": 0.6}', '"accuracy": null}')
    reported.results.write_text(text)
    reported.call("--report", "--markdown")
    out = capsys.readouterr().out
    assert "| low | 3 | 0.1500 ± 0.0707 |" in out
    assert "2 values were not finite" in out


def test_needs_no_detection_packages(reported):
    tool = str(reported.root / "tools" / "study.py")
    run = subprocess.run(
        [sys.executable, "-c", BLOCKED, tool, *reported.arguments("--report")],
        cwd=reported.root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert "0.4500 ± 0.2121" in run.stdout


def test_plot(reported, capsys):
    pytest.importorskip("matplotlib")
    picture = reported.folder / "new" / "picture.png"
    assert reported.call("--plot", str(picture), "--cost", "seconds") == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "not in the picture: none" in capsys.readouterr().err
    assert reported.call("--plot", str(picture), "--cost", "macs") == 2
    assert "no variant has both accuracy and MACs" in capsys.readouterr().err


def test_some_metrics_of_finished_variants(reported, capsys):
    call = ["--report", "--markdown", "--finished", "--metrics", "accuracy"]
    assert reported.call(*call) == 0
    out, _ = capsys.readouterr()
    first = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    assert first[2:] == ["low", "high", "single"]
    assert reported.call("--report", "--metrics", "speed") == 2
    assert "--metrics: expected some of ['accuracy'" in capsys.readouterr().err
