"""The studies of whole detectors: every variant's command is understood, and its detector built."""

import pytest

pytest.importorskip("mmdet3d")

import train

from padre3d.inference import build_model
from padre3d.study.spec import load_study

NAMES = (
    *("detector_mixers", "detector_shallow", "detector_full", "detector_fast", "detector_long"),
    "nuscenes_mixers",
)


def first_runs(repo_root, name):
    study = load_study(repo_root / f"studies/{name}.py")
    found = [run for run in study.runs(repo_root, repo_root / "work_dirs/none") if run.seed == 0]
    assert [run.variant for run in found] == list(study.variants)
    assert study.baseline in study.variants
    return found


def built(run):
    """The detector that the first step of a run trains."""
    if "local_descriptor" in str(run.study.overrides(run.variant)):
        pytest.importorskip("spconv")
    command = run.command(run.steps[0], threads=1)
    arguments = command[command.index("tools/train.py") + 1 :]
    cfg = train.configure(train.parse_args(list(map(str, arguments))))
    assert cfg.randomness.seed == run.seed
    assert run.steps[0].result == f"epoch_{cfg.train_cfg.max_epochs}.pth"
    return build_model(cfg, run.variant)


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_builds(repo_root, name, monkeypatch):
    monkeypatch.chdir(repo_root)
    detectors = set()
    runs = first_runs(repo_root, name)
    for run in runs:
        model = built(run)
        shapes = [(name, tuple(of.shape)) for name, of in model.named_parameters()]
        detectors.add(f"{model} {shapes}")
    assert len(detectors) == len(runs)


def test_the_fast_detector_is_the_cheaper_one(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    runs = {run.variant: run for run in first_runs(repo_root, "detector_fast")}
    default, fast, *others = (built(run).bev_backbone for run in runs.values())
    first = [bev.stages[0][0].conv1.stride for bev in (default, fast)]
    assert first == [(1, 1), (2, 2)]
    assert default.stride == fast.stride == 2
    assert [str(other) for other in others] == [str(fast)] * len(others)
    # The nuScenes pair has the same proportions: 240 of 384 channels.
    assert fast.out_channels / default.out_channels == 240 / 384


def test_the_detector_of_all_cells_is_one_run_with_the_default_of_the_fast_study(repo_root):
    full, fast = (
        load_study(repo_root / f"studies/{n}.py") for n in ("detector_full", "detector_fast")
    )
    assert full.config_hash("padre2", repo_root) == fast.config_hash("default", repo_root)
