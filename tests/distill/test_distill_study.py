"""studies/distill_synthetic.py: every command is understood, every pair fits together."""

import importlib.util

import pytest

pytest.importorskip("mmdet3d")

import distill
from mmengine.registry import init_default_scope

from padre3d.distill.pair import Pair
from padre3d.plugin import MODELS
from padre3d.study.spec import load_study
from padre3d.training.config import read_config

SHARES = {"10": 1, "30": 3}
SLOTS = ("model.backbone.mixer", "model.backbone.pos_embed")


@pytest.fixture(scope="module")
def runs(repo_root):
    """Runs of the first seed by variant."""
    study = load_study(repo_root / "studies/distill_synthetic.py")
    found = study.runs(repo_root, repo_root / "work_dirs/none")
    assert study.seeds == (0, 1, 2)
    return {run.variant: run for run in found if run.seed == 0}


@pytest.fixture(autouse=True)
def _in_root(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    init_default_scope("mmdet3d")


@pytest.fixture
def tool(repo_root):
    """A tool's module by name; ``test`` is a name of the standard library, too."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"{name}_tool", f"tools/{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def arguments(run, step):
    return run.command(run.steps[step], threads=1)[2:]


def test_variants_and_their_steps(runs):
    students = [f"{form}_{kind}" for form in ("sequence", "grid") for kind in KINDS]
    assert sorted(runs) == sorted(["teacher", *students])
    for name, run in runs.items():
        first = {"teacher": "test_teacher", "scratch": "train"}
        expected = next((first[key] for key in first if key in name), "distill")
        assert run.steps[0].name == expected
        assert run.steps[-1].result == "metrics.json"
        assert len(run.steps) == (1 if name == "teacher" else 2)


KINDS = ("fitted", "tuned10", "tuned30", "scratch10", "scratch30")


@pytest.mark.parametrize("form", ["sequence", "grid"])
def test_students_fit_to_their_teacher(runs, form):
    """All students of one form are the same model, whose pillar layout is the form's."""
    models = []
    for kind in ("fitted", "tuned10", "tuned30"):
        run = runs[f"{form}_{kind}"]
        args = distill.parse_args(arguments(run, 0))
        assert (args.seed, args.threads) == (0, 1)
        assert args.finetune_epochs == SHARES.get(kind[-2:], 0)
        assert args.out == run.out
        models.append(distill.student_config(args).model.to_dict())
    teacher = read_config(args.teacher).model
    assert models[0] == models[1] == models[2]
    pair = Pair(MODELS.build(teacher), MODELS.build(models[0]))
    assert {layer.mixer.layout for layer in pair.layers} == {form}
    assert pair.copied.own == ()


@pytest.mark.parametrize("form", ["sequence", "grid"])
@pytest.mark.parametrize("share", SHARES)
def test_trainings_from_scratch_have_the_same_model_and_steps(runs, tool, form, share):
    run, tuned = runs[f"{form}_scratch{share}"], runs[f"{form}_tuned{share}"]
    train = tool("train")
    cfg = train.configure(train.parse_args(arguments(run, 0)))
    args = distill.parse_args(arguments(tuned, 0))
    assert cfg.model.to_dict() == distill.student_config(args).model.to_dict()
    epochs = SHARES[share]
    assert cfg.train_cfg.max_epochs == args.finetune_epochs == epochs
    assert run.result(run.steps[0], 1).name == f"epoch_{epochs}.pth"
    rise, fall, *momenta = cfg.param_scheduler
    assert (rise.begin, rise.end, fall.end) == (0, pytest.approx(0.4 * epochs), epochs)
    assert rise.end == fall.begin
    assert [(s.begin, s.end) for s in momenta] == [(s.begin, s.end) for s in (rise, fall)]
    assert cfg.randomness.seed == 0


def test_what_is_scored(runs, tool):
    test = tool("test")
    for name, run in runs.items():
        args = test.parse_args(arguments(run, -1))
        checkpoint = {"teacher": "padre3d/models/attention_synthetic/weights.pth"}.get(
            name, str(run.result(run.steps[0], 1))
        )
        assert args.checkpoint == checkpoint
        assert args.bootstrap == 200
        assert {key for key in args.cfg_options if key.startswith("model")} <= {
            f"{slot}{tail}" for slot in SLOTS for tail in ("", ".layout", ".kernel_size")
        }


def test_the_teachers_epochs_are_the_measure(repo_root):
    cfg = read_config(repo_root / "configs/study_attention_synthetic.py")
    assert cfg.train_cfg.max_epochs == 10
    assert cfg.model.backbone.mixer.to_dict() == dict(type="set_attention", num_heads=8)
