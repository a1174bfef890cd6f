"""tools/train.py and tools/test.py as programs: killed and resumed, and in two processes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
import torch

pytest.importorskip("mmdet3d")
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_detector import MODEL
from training_runs import SMALL_DATA

from padre3d.training import distributed
from padre3d.training.checkpoint import load_checkpoint_file
from padre3d.training.distributed import prepare_processes

EPOCHS = 3
PROCESSES = 2
NDS = "NuScenes metric/pred_instances_3d_NuScenes/NDS"
CONFIG = """
_base_ = [{base!r}]
custom_imports = dict(imports=["padre3d.plugin", "kill_hook"])
model = dict(_delete_=True, **{model!r})
train_cfg = dict(max_epochs={epochs}, val_begin={epochs} + 1)
randomness = dict(seed=0, deterministic=False)
default_hooks = dict(logger=dict(interval=1))
"""
CONFIG += SMALL_DATA
KILL_HOOK = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class KillMyself(Hook):
    priority = "LOWEST"

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, **kwargs):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory, repo_root, tiny_nuscenes):
    """A config of the small detector on the tiny data set, without random augmentation."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "kill_hook.py").write_text(KILL_HOOK)
    path = folder / "small.py"
    path.write_text(
        CONFIG.format(
            base=str(repo_root / "configs/dsvt_padre2_synthetic.py"),
            model=MODEL,
            range_m=list(MODEL["grid"]["range_m"]),
            epochs=EPOCHS,
        )
    )
    modules = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    changes = dict(SYNTHETIC_ROOT=str(tiny_nuscenes), PYTHONPATH=modules, PYTHON=sys.executable)
    # Threads add gradients of one element in any order, and Adam makes rounding visible.
    changes["OMP_NUM_THREADS"] = "1"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(folder))
        patch.syspath_prepend(str(repo_root / "tools"))
        yield path
    torch.set_num_threads(threads)


@pytest.fixture
def tool(monkeypatch):
    """Run a tool's ``main`` with the given arguments in this process, which saves its imports."""

    def run(name, *arguments):
        sys.modules.pop(name, None)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        __import__(name)
        sys.modules.pop(name).main()

    return run


@pytest.fixture(scope="module")
def killed(config, repo_root, tmp_path_factory):
    """The work dir of a training that was killed in the middle of its second epoch."""
    work_dir = tmp_path_factory.mktemp("killed")
    frames = len_of_epoch(config)
    mortal = config.with_name("mortal.py")
    mortal.write_text(
        f'_base_ = ["{config.name}"]\n'
        f'custom_hooks = [dict(type="KillMyself", iteration={frames + frames // 2})]\n'
    )
    command = [sys.executable, repo_root / "tools/train.py", mortal, "--work-dir", work_dir]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert f"Epoch(train) [2][{frames // 2}/{frames}]" in re.sub(" +", " ", done.stdout)
    assert sorted(p.name for p in work_dir.glob("*.pth")) == ["epoch_1.pth"]
    return work_dir


def len_of_epoch(config):
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return len(DATASETS.build(Config.fromfile(config).train_dataloader.dataset))


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory):
    """The last checkpoint of a training that nothing disturbed."""
    work_dir = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", str(config), "--work-dir", str(work_dir)])
        import train

        train.main()
    return work_dir / f"epoch_{EPOCHS}.pth"


@pytest.mark.parametrize("torn", [False, True], ids=["killed in an epoch", "torn checkpoint"])
def test_a_killed_training_resumes_as_if_nothing_happened(
    config, killed, uninterrupted, tool, tmp_path, capsys, torn
):
    work_dir = tmp_path / "work"
    shutil.copytree(killed, work_dir)
    if torn:
        whole = (work_dir / "epoch_1.pth").read_bytes()
        (work_dir / "epoch_2.pth").write_bytes(whole[: len(whole) // 2])
        (work_dir / "last_checkpoint").write_text(str(work_dir / "epoch_2.pth"))
    tool("train", config, "--work-dir", work_dir, "--resume")
    printed = re.sub(" +", " ", capsys.readouterr().out)
    assert f"--resume: {work_dir / 'epoch_1.pth'}" in printed
    assert "Epoch(train) [1]" not in printed
    assert "Epoch(train) [2][1/" in printed
    expected = load_checkpoint_file(uninterrupted)
    got = load_checkpoint_file(work_dir / uninterrupted.name)
    assert (got["meta"]["epoch"], got["meta"]["iter"]) == (EPOCHS, EPOCHS * len_of_epoch(config))
    assert (got["meta"]["epoch"], got["meta"]["iter"]) == (
        expected["meta"]["epoch"],
        expected["meta"]["iter"],
    )
    torch.testing.assert_close(got["state_dict"], expected["state_dict"], rtol=1e-5, atol=1e-6)
    moments = [c["optimizer"]["state"] for c in (got, expected)]
    torch.testing.assert_close(*moments, rtol=1e-4, atol=1e-6)
    rates = [c["optimizer"]["param_groups"][0]["lr"] for c in (got, expected)]
    assert rates[0] == rates[1]


def run_distributed(script, *arguments):
    """A shell script of tools/ with two processes on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "PORT": port, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [script, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return re.sub(" +", " ", done.stdout)


def test_two_processes_train_and_evaluate(config, repo_root, tmp_path):
    script = repo_root / "tools/dist_train.sh"
    options = ["--cfg-options", "train_cfg.max_epochs=1", "train_cfg.val_begin=1"]
    printed = run_distributed(script, config, PROCESSES, "--work-dir", tmp_path, *options)
    steps = -(-len_of_epoch(config) // PROCESSES)
    assert f"Epoch(train) [1][{steps}/{steps}]" in printed
    assert NDS in printed
    saved = load_checkpoint_file(tmp_path / "epoch_1.pth")
    assert saved["meta"]["iter"] == steps
    assert not [key for key in saved["state_dict"] if key.startswith("module.")]


def test_two_processes_measure_what_one_does(config, repo_root, uninterrupted, tool, tmp_path):
    found = {}
    for name in ("one", "two"):
        metrics = tmp_path / f"{name}.json"
        arguments = [config, uninterrupted]
        options = ["--work-dir", tmp_path / name, "--metrics-out", metrics, "--cfg-options"]
        options.append(f"test_evaluator.jsonfile_prefix={tmp_path / name / 'boxes'}")
        if name == "one":
            tool("test", *arguments, *options)
        else:
            run_distributed(repo_root / "tools/dist_test.sh", *arguments, PROCESSES, *options)
        (boxes,) = (tmp_path / name).rglob("results_nusc.json")
        found[name] = json.loads(metrics.read_text()), json.loads(boxes.read_text())
    metrics, boxes = found["one"]
    # An odd number of frames: one process gets a frame twice, which must not count.
    assert len(boxes["results"]) % PROCESSES == 1
    assert all(len(of_frame) > 0 for of_frame in boxes["results"].values())
    assert NDS in metrics
    assert found["two"] == found["one"]


def test_maps_computed_once_have_the_scores_of_the_detector(config, uninterrupted, tool, tmp_path):
    from benchmarks.window_nds import FrameScores
    from padre3d.inference import init_model

    options = ["--work-dir", tmp_path / "tool", "--metrics-out", tmp_path / "tool.json"]
    prefix = f"test_evaluator.jsonfile_prefix={tmp_path / 'tool/boxes'}"
    tool("test", config, uninterrupted, *options, "--cfg-options", prefix)
    scores = FrameScores(str(config), init_model(config, uninterrupted), str(tmp_path / "log"))
    (metric,) = scores.evaluator.metrics
    for run in ("first", "second"):
        metric.jsonfile_prefix = str(tmp_path / run / "boxes")
        nds = scores.nds()
        assert nds == json.loads((tmp_path / "tool.json").read_text())[NDS]
        boxes = [next((tmp_path / name).rglob("results_nusc.json")) for name in ("tool", run)]
        expected, found = (json.loads(path.read_text())["results"] for path in boxes)
        assert found == expected


def test_maps_that_do_not_fit_are_refused():
    from benchmarks.window_nds import check_memory

    bev = torch.empty(1, 384, 180, 180, device="meta")
    check_memory(bev, 100)
    with pytest.raises(ValueError, match="--nds: expected maps of 8 GB at most, got 299.5 GB"):
        check_memory(bev, 6019)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(launcher="slurm"), "launcher: expected 'pytorch' without a GPU, got 'slurm'"),
        (dict(sync_bn="torch"), "sync_bn: expected none without a GPU, got 'torch'"),
        ({}, "expected to run under torchrun, missing .*RANK"),
    ],
)
def test_processes_that_cannot_be_joined(monkeypatch, changes, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=message):
        prepare_processes(Config({"launcher": "pytorch", **changes}))


def test_one_process_is_left_alone():
    cfg = Config(dict(launcher="none", sync_bn="torch"))
    prepare_processes(cfg)
    assert cfg.to_dict() == dict(launcher="none", sync_bn="torch")


@pytest.mark.parametrize("gpu", [False, True])
def test_memory_is_kept_where_there_is_no_gpu(monkeypatch, gpu):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(distributed, "keep_freed_memory", lambda: calls.append(1))
    prepare_processes(Config())
    assert len(calls) == 1 - gpu


@pytest.mark.parametrize(
    ("deterministic", "given", "expected"),
    [(True, None, ":4096:8"), (True, ":16:8", ":16:8"), (False, None, None)],
)
def test_deterministic_runs_have_the_workspace_that_a_gpu_needs(
    monkeypatch, deterministic, given, expected
):
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)
    if given is not None:
        monkeypatch.setenv(name, given)
    prepare_processes(Config(dict(randomness=dict(seed=0, deterministic=deterministic))))
    assert os.environ.get(name) == expected
