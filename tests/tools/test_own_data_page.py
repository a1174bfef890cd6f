"""docs/own-data.md from an empty folder to a score: its script, its three commands."""

import argparse
import json
import re
import shlex
import sys

import numpy as np
import pytest

pytest.importorskip("mmdet3d")

EPOCHS = 2
KEY = "NuScenes metric/pred_instances_3d_NuScenes/"


@pytest.fixture
def page(repo_root):
    return (repo_root / "docs/own-data.md").read_text()


@pytest.fixture
def run(repo_root, monkeypatch, tmp_path):
    """A command of the page, in this process, which saves the imports."""
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(repo_root / "configs")

    def command(line, *more):
        program, script, *arguments = shlex.split(line)
        assert program == "python"
        name = script.removeprefix("tools/").removesuffix(".py")
        sys.modules.pop(name, None)
        monkeypatch.setattr(sys, "argv", [script, *arguments, *more])
        __import__(name)
        sys.modules.pop(name).main()

    return command


def test_from_an_empty_folder_to_a_score(page, run, tmp_path, capsys):
    exec(re.search(r"```python\n(.*?)```", page, re.S).group(1), {})
    prepare, train, score = re.search(r"```bash\n(.*?)```", page, re.S).group(1).splitlines()
    run(prepare)
    assert "12 frames of 1 recording, 24 shuttle, 24 bollard" in capsys.readouterr().out
    quick = [f"train_cfg.max_epochs={EPOCHS}", "train_dataloader.num_workers=0"]
    quick.append("train_dataloader.persistent_workers=False")
    run(train, "--cfg-options", *quick)
    checkpoint = f"epoch_{EPOCHS}.pth"
    assert (tmp_path / "work_dirs/mine" / checkpoint).is_file()
    run(score.replace("epoch_10.pth", checkpoint), "--metrics-out", "score.json")
    found = json.loads((tmp_path / "score.json").read_text())
    assert np.isfinite(found[f"{KEY}mAP"])
    assert {f"{KEY}{name}_AP_dist_2.0" for name in ("shuttle", "bollard")} <= found.keys()
    assert not any("car_" in key or "mAAE" in key for key in found)


def test_every_option_exists(page, repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import create_folder

    parser = argparse.ArgumentParser()
    create_folder.add_folder_arguments(parser)
    known = set(parser._option_string_actions) | {"--root-path", "--work-dir", "--cfg-options"}
    assert set(re.findall(r"--[a-z][a-z-]*", page)) <= known
