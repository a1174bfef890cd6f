"""Files that a run takes over: from whom, when, and what the row says."""

import pytest

from padre3d.study import Reuse, Step

REUSE = Reuse(files=("counter",), apart_from=("gain",))
VARIANTS = {
    "first": {"steps": 3, "gain": 0.1},
    "second": {"steps": 3, "gain": 0.2},
    "longer": {"steps": 5, "gain": 0.1},
}


@pytest.fixture
def define(lab):
    """Define the study of one step that counts its steps."""

    def study(reuse=REUSE, **fields):
        step = Step("count", lab.command, "metrics.json", reuse=reuse)
        fields = {"variants": VARIANTS, "seeds": (0, 1), "baseline": "first", **fields}
        return lab.define(steps=[step], metrics=("accuracy", "begun"), **fields)

    return study


def rows(lab):
    return {
        (row["name"], row["seed"]): (row["metrics"]["begun"], row["reused_from"])
        for row in lab.lines()
    }


def test_a_run_goes_on_from_what_an_equal_one_made(lab, define):
    define()
    assert lab.call() == 0
    assert rows(lab) == {
        ("first", 0): (0, None),
        ("second", 0): (3, "first seed 0"),
        ("longer", 0): (0, None),
        ("first", 1): (0, None),
        ("second", 1): (3, "first seed 1"),
        ("longer", 1): (0, None),
    }
    (log,) = lab.work_dir.glob("second/seed0-*/run.log")
    assert "counter taken over from " in log.read_text()


def test_what_a_run_has_begun_itself_stays(lab, define):
    study = define(seeds=(0,))
    assert lab.call("--only", "first") == 0
    (run,) = (run for run in study.runs(lab.root, lab.work_dir) if run.variant == "second")
    run.out.mkdir(parents=True)
    (run.out / "counter").write_text("1")
    assert lab.call("--only", "second") == 0
    assert rows(lab)["second", 0] == (1, None)


def test_a_run_of_an_older_configuration_lends_nothing(lab, define):
    define(seeds=(0,))
    assert lab.call("--only", "first") == 0
    define(seeds=(0,), env={"LAB": "2"})
    assert lab.call("--only", "second") == 0
    assert rows(lab)["second", 0] == (0, None)


def test_nothing_is_taken_over_without_being_asked_for(lab, define):
    define(reuse=None, seeds=(0,))
    assert lab.call() == 0
    assert rows(lab)["second", 0] == (0, None)


def test_all_files_or_none(lab, define):
    define(reuse=Reuse(files=("counter", "missing"), apart_from=("gain",)), seeds=(0,))
    assert lab.call() == 0
    assert rows(lab)["second", 0] == (0, None)


@pytest.mark.parametrize("reuse", [Reuse(files="fit.pt"), Reuse(("fit.pt",), "epochs")])
def test_names_alone_are_refused(define, reuse):
    with pytest.raises(ValueError, match="expected lists of names, got Reuse"):
        define(reuse=reuse)


def test_fits_are_shared_by_the_lengths_of_the_fine_tuning(repo_root, tmp_path):
    from padre3d.study.reuse import lenders
    from padre3d.study.spec import load_study

    study = load_study(repo_root / "studies/distill_synthetic.py")
    distill = study.all_steps()[0]
    runs = {
        run.variant: run for run in study.runs(repo_root, tmp_path) if run.seed == study.seeds[0]
    }
    for form in ("sequence", "grid"):
        found = lenders(runs[f"{form}_tuned30"], distill.reuse, repo_root, tmp_path)
        assert {f"{form}_fitted", f"{form}_tuned10"} <= {run.variant for run in found}
        assert not any(run.variant.startswith("grid") != (form == "grid") for run in found)
