"""Runs that two studies have in common."""

import json

import pytest


@pytest.fixture
def neighbour(lab):
    """A results file beside the lab's; fills it with rows of the lab's runs under another name."""
    path = lab.results.with_name("neighbour.jsonl")

    def fill(study, variant, name="theirs", seed=0, **changes):
        row = {
            **{"study": "neighbour", "name": name, "seed": seed},
            **{"hash": study.config_hash(variant, lab.root), "metrics": {"accuracy": 0.75}},
            **{"params": 1, "macs": 1, "seconds": 1.0, "run_seconds": 1.0, "device": "cpu"},
            **{"threads": 1, "torch": "2.4.0", "commit": "0123456", "dirty": False, **changes},
        }
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return path

    return fill


def table(lab, capsys):
    assert lab.call("--report", "--json", "-") == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def plain_command(lab):
    """The lab's command without the variant's name."""
    return [str(lab.script), "{out}", "{seed}", "any", "{options}"]


def test_run_of_another_study_is_not_run_again(lab, neighbour, capsys):
    study = lab.define(command=plain_command(lab), seeds=(0,))
    neighbour(study, "high")
    rows = table(lab, capsys)
    assert rows["high"]["mean"] == 0.75
    assert "low" not in rows
    assert lab.call() == 0
    own = [json.loads(line) for line in lab.results.read_text().splitlines()]
    assert [row["name"] for row in own] == ["low"]
    assert not (lab.work_dir / "high").exists()


def test_own_row_wins(lab, neighbour, capsys):
    study = lab.define(command=plain_command(lab), seeds=(0,))
    assert lab.call() == 0
    neighbour(study, "high")
    capsys.readouterr()
    assert table(lab, capsys)["high"]["mean"] == 0.5


def test_one_row_serves_two_variants(lab, neighbour, capsys):
    variants = {"low": {"gain": 0.25}, "high": {"gain": 0.5}, "again": {"gain": 0.5}}
    study = lab.define(command=plain_command(lab), variants=variants, seeds=(0,))
    neighbour(study, "high")
    rows = table(lab, capsys)
    assert rows["high"]["mean"] == rows["again"]["mean"] == 0.75


@pytest.mark.parametrize("change", [{"hash": "other"}, {"seed": 1}, {"metrics": {"speed": 1.0}}])
def test_other_runs_do_not_count(lab, neighbour, capsys, change):
    study = lab.define(command=plain_command(lab), seeds=(0,))
    neighbour(study, "high", **change)
    assert table(lab, capsys) == {}


def test_runs_that_depend_on_their_name_are_not_shared(lab, neighbour, capsys):
    study = lab.define(seeds=(0,))
    assert "variant" in study.placeholders("high")
    neighbour(study, "high")
    assert table(lab, capsys) == {}
    study = lab.define(
        command=plain_command(lab), defaults={"note": "{variant}"}, baseline="low", seeds=(0,)
    )
    neighbour(study, "high")
    assert table(lab, capsys) == {}


def test_broken_neighbour_is_named_and_left_out(lab, neighbour, capsys):
    study = lab.define(command=plain_command(lab), seeds=(0,))
    path = neighbour(study, "high")
    path.write_text("no json\n" + path.read_text())
    with pytest.warns(UserWarning, match=r"neighbour\.jsonl: left out: .*expected a JSON object"):
        assert table(lab, capsys) == {}
    path.unlink()
    neighbour(study, "high").rename(path.with_name("neighbour.failed.jsonl"))
    assert table(lab, capsys) == {}


def test_run_that_another_study_finishes_meanwhile_is_not_started(lab, neighbour):
    """The neighbour's row appears while this study's first run is at work."""
    study = lab.define(command=plain_command(lab), seeds=(0,))
    path = neighbour(study, "high")
    late = path.rename(path.with_name("late"))
    lab.script.write_text(
        lab.script.read_text() + f"\nimport os\nos.replace({str(late)!r}, {str(path)!r})\n"
    )
    assert lab.call() == 0
    own = [json.loads(line) for line in lab.results.read_text().splitlines()]
    assert [row["name"] for row in own] == ["low"]
    assert not (lab.work_dir / "high").exists()
