"""What a study file means: commands, overrides, hashes, and what is refused."""

import sys

import pytest

from padre3d.study import Step, Study
from padre3d.study.options import cfg_options

COMMAND = ["tools/probe.py", "--out", "{out}", "--seed", "{seed}", "{options}"]


def study(**fields):
    base = {"name": "s", "variants": {"a": {}}, "metrics": ("m",), "command": COMMAND}
    return Study(**{**base, **fields})


def test_grid_is_seed_major(tmp_path):
    runs = study(variants={"a": {}, "b": {"x": 1}}, seeds=(3, 1)).runs(tmp_path, tmp_path)
    assert [(r.variant, r.seed) for r in runs] == [("a", 3), ("b", 3), ("a", 1), ("b", 1)]
    assert len({run.out for run in runs}) == 4


def test_command_takes_options_and_placeholders(tmp_path):
    command = ["tools/train.py", "{config}", "--threads={threads}", "--set", "{sizes}", "{options}"]
    found = study(
        command=command,
        variants={"a": {"config": "c.py", "sizes": [1, 2], "model.depth": 4}},
        defaults={"lr": 0.5, "model.depth": 8},
    )
    (run,) = found.runs(tmp_path, tmp_path)
    assert run.command(found.all_steps()[0], threads=3) == [
        *[sys.executable, "tools/train.py", "c.py", "--threads=3", "--set", "[1, 2]"],
        *["--cfg-options", "lr=0.5", "model.depth=4"],
    ]


def test_a_step_may_belong_to_some_variants_only(tmp_path):
    steps = [
        Step("train", ["t.py", "{depth}", "{options}"], "w.pth", only=("b",)),
        Step("test", ["e.py"], "metrics.json"),
    ]
    fields = dict(command=(), variants={"a": {}, "b": {"depth": 2, "x": 1}})
    found, same = (
        study(steps=steps, **fields),
        study(steps=steps[1:], command=(), variants={"a": {}}),
    )
    a, b = found.runs(tmp_path, tmp_path)
    assert [step.name for step in a.steps] == ["test"]
    assert [step.name for step in b.steps] == ["train", "test"]
    assert b.command(b.steps[0], 1)[1:] == ["t.py", "2", "--cfg-options", "x=1"]
    # Results of a variant do not depend on the steps of others.
    assert a.hash == same.runs(tmp_path, tmp_path)[0].hash


def test_no_overrides_no_option(tmp_path):
    found = study(command=["echo", "{variant}{seed}", "{options}", '{"json": {"kept": 1}}'])
    (run,) = found.runs(tmp_path, tmp_path)
    expected = ["echo", "a0", '{"json": {"kept": 1}}']
    assert run.command(found.all_steps()[0], threads=1) == expected


def test_overrides_may_hold_placeholders(tmp_path):
    overrides = {"randomness.seed": "{seed}", "dir": "x/{variant}-{seed}", "sizes": ["{seed}", 1]}
    found = study(variants={"a": overrides}, seeds=(7,))
    (run,) = found.runs(tmp_path, tmp_path)
    expected = ["--cfg-options", "randomness.seed=7", "dir=x/a-7", "sizes=[7,1]"]
    assert run.command(found.all_steps()[0], threads=1)[-4:] == expected


def test_options_read_back_by_mmengine():
    config = pytest.importorskip("mmengine.config")
    overrides = {
        "model.mixer": {"type": "padre", "degree": 2, "_delete_": True},
        "range": (-54.0, 1e-3, 54),
        "sets": [[12, 12], (24, 24)],
        "empty": [],
        "off": None,
        "path": "data/x-1.pkl",
    }
    read = config.DictAction(["--cfg-options"], "cfg_options")._parse_iterable
    key_values = [pair.split("=", 1) for pair in cfg_options(overrides)[1:]]
    assert {key: read(value) for key, value in key_values} == {
        "model.mixer.type": "padre",
        "model.mixer.degree": 2,
        "model.mixer._delete_": True,
        **{key: overrides[key] for key in ("range", "sets", "empty", "off", "path")},
    }


@pytest.mark.parametrize("value", ["1", "1e3", "None", "true", "a b", "a,b", "[x]", [{"a": 1}]])
def test_values_that_would_be_read_differently_are_refused(value):
    with pytest.raises(ValueError, match="override key"):
        cfg_options({"key": value})


def test_hash_changes_with_what_decides_the_result(tmp_path):
    (tmp_path / "config.py").write_text("depth = 1")
    base = {"variants": {"a": {"x": 1}}, "inputs": ("config.py",)}
    before = study(**base).config_hash("a", tmp_path)
    assert study(**base, seeds=(0, 1, 2), metrics=("m", "n")).config_hash("a", tmp_path) == before
    others = [
        {"variants": {"a": {"x": 2}}},
        {"defaults": {"y": 1}},
        {"command": [*COMMAND, "--more"]},
        {"rename": {"M": "m"}},
        {"env": {"A": "1"}},
    ]
    hashes = {study(**{**base, **other}).config_hash("a", tmp_path) for other in others}
    (tmp_path / "config.py").write_text("depth = 2")
    hashes.add(study(**base).config_hash("a", tmp_path))
    assert len(hashes | {before}) == len(others) + 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ()}, "either command or steps"),
        ({"steps": [Step("t", ["x"], "r")]}, "either command or steps"),
        ({"command": (), "steps": [Step("t", ["x"], "r", only=["b"])]}, "only: expected variants"),
        (
            {
                "command": (),
                "variants": {"a": {}, "b": {}},
                "steps": [Step("t", ["x"], "r", only=["b"])],
            },
            "variant a: expected a step",
        ),
        ({"command": "python x.py"}, "list of strings"),
        ({"command": ["x", "{degree}"]}, "nothing to put in for {degree}"),
        ({"command": ["x", "a={options}"]}, "argument of its own"),
        ({"variants": {"a": {"x": "{degree}"}}}, "nothing to put in for {degree}"),
        ({"variants": {"a": {"x": "{options}"}}}, "nothing to put in for {options}"),
        ({"variants": {"a": {"x": {1, 2}}}}, "must be plain data"),
        ({"variants": {"a": {"x": "a b"}}}, "override x: expected a string without"),
        ({"command": ["x"], "variants": {"a": {"x": 1}}}, "no place for 'x'"),
        ({"variants": {"a": {"seed": 1}}}, "'seed' is the runner's own"),
        ({"variants": {"a/b": {}}}, "got 'a/b'"),
        ({"variants": {}}, "expected variants"),
        ({"metrics": "m"}, "tuple of names"),
        ({"seeds": (1, 1)}, "each once"),
        ({"baseline": "b"}, r"one of \['a'\], got 'b'"),
        ({"rename": {"x": "y"}}, "'y' is not among the metrics"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        study(**fields)
