"""The benchmark of a training step: two checkouts side by side, and a gate between them."""

import json
import shutil

import pytest

from benchmarks import common, report

pytest.importorskip("mmdet3d")
from training_runs import write_small_config

from benchmarks import train_step


@pytest.fixture
def run(tmp_path, repo_root, tiny_nuscenes, monkeypatch):
    """Run the benchmark on the small detector; returns its result."""
    monkeypatch.setattr(common, "product_gflops", lambda device, dtype: 100.0)
    monkeypatch.setattr(common, "copy_gb_per_s", lambda device: 10.0)
    monkeypatch.setenv("SYNTHETIC_ROOT", str(tiny_nuscenes))
    monkeypatch.setenv("PADRE3D_SPCONV", "0")
    config = tmp_path / "small.py"
    write_small_config(config, repo_root)

    def measure(*options):
        file = tmp_path / "results" / "cpu" / "train_step.json"
        options = ["--config", str(config), "--repeats", "2", "--threads", "1", *options]
        train_step.main([*options, "--json", str(file)])
        return json.loads(file.read_text())

    return measure


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_step_beside_that_of_another_checkout(run, repo_root, tmp_path):
    result = run("--before", str(repo_root))
    assert result["gate"] == {"loss": 0}
    assert result["times"].keys() == {"now", "before"}
    now, before = (result["times"][name]["cpu_ms"] for name in ("now", "before"))
    assert result["cpu_ratio_to_before"] == pytest.approx(before / now, abs=2e-3)
    assert result["before_commit"] == result["conditions"]["commit"]
    table = report.MAKERS["train_step"](report.load(tmp_path / "results"))
    assert table.count("| small.py |") == 2

    other = tmp_path / "other"
    for name in ("padre3d", "configs", "tools"):
        shutil.copytree(repo_root / name, other / name)
    settings = other / "padre3d" / "head" / "settings.py"
    text = settings.read_text()
    settings.write_text(text.replace("focal_alpha: float = 0.25", "focal_alpha: float = 0.5"))
    assert settings.read_text() != text
    with pytest.raises(common.GateError, match="loss"):
        run("--before", str(other))


def test_a_folder_that_is_no_checkout_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_step.main(["--device", "cpu", "--before", str(tmp_path)])
    assert f"--before: expected a checkout with tools/train.py, got {tmp_path}" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_training_that_cannot_start_says_why(run, repo_root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(repo_root / "tools", other / "tools")
    shutil.copytree(repo_root / "padre3d", other / "padre3d")
    (other / "tools" / "train.py").write_text("raise SystemExit('no such thing')\n")
    with pytest.raises(RuntimeError, match="(?s)ended: .*no such thing"):
        run("--before", str(other))
