"""What tools/train.py and tools/test.py do before their first step."""

import re
import sys
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("mmdet3d")
from mmengine.config import Config
from mmengine.runner import TestLoop
from small_detector import build
from training_runs import write_small_config

from padre3d.training.hooks import naming_config_until_first_step


@pytest.fixture
def config(tmp_path, repo_root, tiny_nuscenes, monkeypatch):
    """A config of the small detector on the tiny data set."""
    monkeypatch.setenv("SYNTHETIC_ROOT", str(tiny_nuscenes))
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    # Formatting a config for the log takes seconds.
    monkeypatch.setattr(Config, "pretty_text", property(lambda cfg: ""))
    path = tmp_path / "small.py"
    write_small_config(path, repo_root)
    return path


@pytest.fixture
def tool():
    """A tool's module, whatever module of that name was imported before."""

    def load(name):
        sys.modules.pop(name, None)
        __import__(name)
        return sys.modules.pop(name)

    return load


def test_the_checkpoint_of_the_command_line_is_the_one_tested(config, tool, tmp_path, monkeypatch):
    models = {}
    for seed, name in enumerate(("wanted", "other")):
        models[name] = build(seed).state_dict()
        torch.save({"state_dict": models[name], "meta": {}}, tmp_path / f"{name}.pth")
    config.write_text(f"{config.read_text()}load_from = {str(tmp_path / 'other.pth')!r}\n")
    tested = []
    monkeypatch.setattr(
        TestLoop, "run", lambda loop: tested.append(loop.runner.model.state_dict()) or {}
    )
    tool("test").main([str(config), str(tmp_path / "wanted.pth"), "--work-dir", str(tmp_path)])
    (state,) = tested
    torch.testing.assert_close(dict(state), dict(models["wanted"]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("train", "optim_wrapper.optimizer.type=AdamX", "TypeError: None is not a callable object"),
        ("train", "train_dataloader.dataset.pipline=3", "TypeError: .*pipline"),
        ("train", "param_scheduler.0.type=Cosine", "KeyError: .*Cosine"),
        ("test", "test_dataloader.dataset.pipline=3", "TypeError: .*pipline"),
    ],
)
def test_faults_of_parts_that_are_built_late_name_the_config(
    config, tool, tmp_path, monkeypatch, name, option, message
):
    torch.save(build().state_dict(), tmp_path / "a.pth")
    arguments = [str(config)] + ([str(tmp_path / "a.pth")] if name == "test" else [])
    with pytest.raises(SystemExit) as stop:
        tool(name).main([*arguments, "--work-dir", str(tmp_path), "--cfg-options", option])
    assert re.match(f"error: config {re.escape(str(config))}: {message}", str(stop.value.code))


def late(error, begun):
    """A run that fails before its first step, or in it."""
    hooks = []
    runner = SimpleNamespace(register_hook=hooks.append)
    with naming_config_until_first_step(runner, "c.py"):
        if begun:
            hooks[0].before_train(runner)
        raise error


def test_what_a_step_raises_is_no_fault_of_the_config():
    with pytest.raises(ValueError, match="config c.py: KeyError"):
        late(KeyError("late"), begun=False)
    with pytest.raises(KeyError):
        late(KeyError("in a step"), begun=True)


def test_mixed_precision_without_a_gpu_is_refused(config, tool, tmp_path, monkeypatch):
    train = tool("train")
    monkeypatch.setattr(train, "get_device", lambda: "cpu")
    with pytest.raises(SystemExit) as stop:
        train.main([str(config), "--work-dir", str(tmp_path / "work"), "--amp"])
    assert str(stop.value.code).startswith("error: --amp: expected a GPU")
    assert not (tmp_path / "work").exists()
