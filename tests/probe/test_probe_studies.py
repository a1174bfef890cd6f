"""The study files: every variant's command is one the probe understands and can build."""

import json

import pytest

pytest.importorskip("mmdet3d")
pytest.importorskip("padre3d.study")

import probe
import torch

from padre3d.probe.model import Probe
from padre3d.probe.settings import ProbeSettings
from padre3d.study.spec import load_study

ROWS = """
    none attention attention_set36 control padre2 padre3 padre4 padre2_paper padre3_paper
    padre2_text hyena mamba sima padre2_k31 padre2_k63 padre2_grid5 padre2_grid11
    padre2_grid5_block8 padre3_grid5 control_grid5 none_submconv padre2_submconv
    padre2_submconv_each padre2_parallel attention_submconv padre2_grid11_submconv
"""


def study_of(repo_root, name):
    return load_study(repo_root / f"studies/{name}.py")


def test_rows_of_the_mixer_study(repo_root):
    study = study_of(repo_root, "probe_mixers")
    assert list(study.variants) == ROWS.split()
    assert study.baseline == "attention"
    assert study.metrics[0] == "mean_iou"
    assert study.seeds == (0, 1, 2)


def parameters_of_variants(repo_root, name, work_dir):
    """Number of parameters of every variant of a study, built."""
    study = study_of(repo_root, f"probe_{name}")
    parameters = {}
    for run in (r for r in study.runs(repo_root, work_dir) if r.seed == study.seeds[0]):
        _, program, *arguments = run.command(study.all_steps()[0], threads=1)
        assert program == "tools/probe.py"
        args = probe.parse_args(arguments)
        settings = ProbeSettings.from_config(probe.configure(args), args.seed)
        if settings.backbone.get("local_descriptor"):
            pytest.importorskip("spconv")
        torch.manual_seed(0)
        model = Probe(settings.grid, settings.pillar_encoder, settings.backbone, 10)
        parameters[run.variant] = sum(p.numel() for p in model.parameters())
    assert parameters.keys() == study.variants.keys()
    return parameters


@pytest.mark.parametrize("name", ["kernels", "orders", "start", "rates", "precision"])
def test_every_variant_builds(repo_root, name, monkeypatch, tmp_path):
    monkeypatch.chdir(repo_root)
    assert min(parameters_of_variants(repo_root, name, tmp_path).values()) > 1000


def test_every_mixer_builds_with_the_parameters_to_compare(repo_root, monkeypatch, tmp_path):
    monkeypatch.chdir(repo_root)
    parameters = parameters_of_variants(repo_root, "mixers", tmp_path)
    assert parameters["control"] == parameters["padre2"] == parameters["padre2_paper"]
    assert parameters["none"] < parameters["padre2"] < parameters["padre2_k31"]


def test_study_keeps_metrics_that_the_probe_writes(repo_root, tmp_path):
    from test_probe_metrics import random_frames

    from padre3d.probe.metrics import summarize
    from padre3d.study.metrics import read_metrics, select

    study = study_of(repo_root, "probe_mixers")
    extra = dict(train_loss=1.0, ms_per_step=2.0, nonfinite_share=0.0)
    found = {**summarize(random_frames(3), ("car", "cone", "bus"), 5), **extra}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(found))
    metrics = select(read_metrics(path), tuple(study.metrics), study.rename)
    assert metrics["mean_iou"] == pytest.approx(found["mean_iou"])
    assert metrics["long_recall"] is None  # all boxes are four metres long
    assert metrics["far_mean_iou"] is None  # and all pillars ten metres away
