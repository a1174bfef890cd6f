"""The gate on made-up results."""

import json

import pytest
from probe import main

from padre3d.probe.gate import check_gate, check_gates


@pytest.fixture
def results(tmp_path):
    def write(none, attention, extra=()):
        rows = [
            {"name": name, "seed": seed, "metrics": {"mean_iou": value}}
            for name, values in (("none", none), ("attention", attention))
            for seed, value in enumerate(values)
        ]
        path = tmp_path / "results.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in [*extra, *rows]))
        return path

    return write


def test_passes_only_beyond_five_spreads(results):
    # Sample standard deviation 1 of both: the gap must exceed 5.
    passed = check_gate(results([10, 11, 12], [16.1, 17.1, 18.1]))
    assert passed.passed
    assert passed.gap == pytest.approx(6.1)
    assert passed.spread == pytest.approx(1.0)
    assert not check_gate(results([10, 11, 12], [14.9, 15.9, 16.9])).passed
    assert not check_gate(results([16, 17, 18], [10, 11, 12])).passed


def test_less_is_better_for_errors(tmp_path):
    """A metric is judged on its own: here the errors are far apart and the IoUs are not."""
    rows = [
        {"name": name, "seed": seed, "metrics": {"mean_iou": 10.0 + seed, "centre_m": error + seed}}
        for name, error in (("none", 20), ("attention", 10))
        for seed in range(3)
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    verdicts = {verdict.metric: verdict for verdict in check_gates(path)}
    assert {name: v.passed for name, v in verdicts.items()} == {"mean_iou": False, "centre_m": True}
    assert verdicts["centre_m"].gap == pytest.approx(10)
    assert main(["--gate", str(path)]) == 0


def test_larger_spread_counts(results):
    assert check_gate(results([10, 10.1, 10.2], [19, 20, 21])).spread == pytest.approx(1.0)


def test_last_row_of_a_seed_counts_and_missing_values_do_not(results):
    old = {"name": "none", "seed": 0, "metrics": {"mean_iou": 90}}
    empty = {"name": "attention", "seed": 7, "metrics": {"mean_iou": None}}
    verdict = check_gate(results([10, 11, 12], [20, 21, 22], [old, empty]))
    assert verdict.seeds == (3, 3)
    assert verdict.gap == pytest.approx(10)


def test_too_few_seeds(results):
    with pytest.raises(ValueError, match="two seeds of 'attention'"):
        check_gate(results([1, 2, 3], [9]))


def test_command_line(results, capsys):
    assert main(["--gate", str(results([10, 11, 12], [20, 21, 22]))]) == 0
    said = capsys.readouterr().out
    assert said.startswith("mean_iou      passed: attention is better than none by 10.000")
    assert main(["--gate", str(results([10, 11, 12], [12, 13, 14]))]) == 1
    assert "make the task harder" in capsys.readouterr().out
