"""Trainings in processes of their own that may be killed, forked from one that has the imports."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from small_detector import MODEL

from padre3d.structures.classes import NUSCENES_CLASSES

EPOCHS = 3
SECONDS = 300
# Loaders of the small detector on the tiny data set, for a config that has a _base_ and its model.
SMALL_DATA = """
frames = dict(type="LoadSweeps", num_sweeps=1)
in_range = dict(type="PointsRangeFilter", point_cloud_range={range_m!r})
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=[frames, in_range, dict(type="Pack3DDetInputs", keys=["points"])]),
)
test_dataloader = val_dataloader
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        pipeline=[
            frames,
            dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
            in_range,
            dict(type="ObjectRangeFilter", point_cloud_range={range_m!r}),
            dict(type="ObjectNameFilter", classes=_base_.class_names),
            dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
        ]
    ),
)
"""
SMALL_CONFIG = """
_base_ = [{base!r}]
model = dict(_delete_=True, **{model!r})
"""
SMALL_CONFIG += SMALL_DATA
CONFIG = """
_base_ = [{base!r}]
data_root = {root!r}
range_m = {range_m!r}
model = dict(_delete_=True, **{model!r})
pipeline = [
    dict(type="LoadSweeps", num_sweeps=1),
    dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
    dict(type="SampleGroundTruth", sample_groups=dict(car=3, pedestrian=3), min_points=1),
    dict(type="RandomFlip3D", sync_2d=False, flip_ratio_bev_vertical=0.5),
    dict(
        type="GlobalRotScaleTrans",
        rot_range=[-0.8, 0.8],
        scale_ratio_range=[0.9, 1.1],
        translation_std=[0.5, 0.5, 0.5],
    ),
    dict(type="PointsRangeFilter", point_cloud_range=range_m),
    dict(type="ObjectRangeFilter", point_cloud_range=range_m),
    dict(type="ObjectNameFilter", classes={names!r}),
    dict(type="PointShuffle"),
    dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(data_root=data_root, pipeline=pipeline),
)
val_dataloader = None
val_cfg = None
val_evaluator = None
train_cfg = dict(_delete_=True, type="ResumableTrainLoop", max_epochs={epochs})
custom_hooks = [dict(type="FadeGroundTruthSampling", last_epochs=1)]
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0, deterministic=True)
"""


def write_small_config(path: Path, repo_root: Path) -> None:
    """The config of the small detector on the data set that SYNTHETIC_ROOT names."""
    base = str(repo_root / "configs/dsvt_padre2_synthetic.py")
    range_m = list(MODEL["grid"]["range_m"])
    path.write_text(SMALL_CONFIG.format(base=base, model=MODEL, range_m=range_m))


def write_config(
    path: Path, repo: Path, root: Path, workers: int = 1, epochs: int = EPOCHS
) -> Path:
    """A config of a small detector with random augmentation, on a prepared data set."""
    path.write_text(
        CONFIG.format(
            base=str(repo / "configs/dsvt_padre2_synthetic.py"),
            root=str(root),
            model=MODEL,
            range_m=list(MODEL["grid"]["range_m"]),
            names=list(NUSCENES_CLASSES),
            epochs=epochs,
        )
    )
    return path


class Trainings:
    """Starts tools/train.py in forked processes.

    Args:
        tools: folder of the tools.
        config: config file.
    """

    def __init__(self, tools: Path, config: Path) -> None:
        self.config = config
        sys.path.insert(0, str(tools))
        os.environ.update(OMP_NUM_THREADS="1")
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["padre3d.plugin", "train", "training_runs"])
        self._runs: list[Run] = []

    def start(self, work_dir: Path, *options: str, **orders: object) -> Run:
        """A training with tools/train.py's options; ``orders`` as for :func:`train_here`."""
        run = Run(self.context, work_dir, [str(self.config), *options], orders)
        self._runs.append(run)
        return run

    def close(self) -> None:
        """Kill what still runs; this process would wait for it at its end."""
        for run in self._runs:
            run.process.kill()

    def finish(self, work_dir: Path, *options: str, **orders: object) -> Run:
        """A training that is waited for."""
        run = self.start(work_dir, *options, **orders)
        run.wait()
        return run


class Run:
    """A training in a process."""

    def __init__(self, context, work_dir: Path, arguments: list[str], orders: dict) -> None:
        self.log = Path(tempfile.mkstemp(dir=work_dir.parent, suffix=".log")[1])
        self.began = context.Event()
        options = [*arguments, "--work-dir", str(work_dir)]
        self.process = context.Process(
            target=train_here, args=(options, str(self.log), self.began, orders)
        )
        self.process.start()

    def kill_in(self, seconds: float) -> None:
        """Kill it so long after its first step began, if it still runs."""
        assert self.began.wait(SECONDS), self.said
        self.process.join(seconds)
        self.process.kill()

    def wait(self) -> int:
        """Its exit status; minus the signal that killed it."""
        self.process.join(SECONDS)
        assert not self.process.is_alive(), self.said
        return self.process.exitcode

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text()


def train_here(arguments: list[str], log: str, began, orders: dict) -> None:
    """What the process does.

    Args:
        arguments: of tools/train.py.
        log: file that gets its output.
        began: is set when the first step begins.
        orders: ``signal`` sent to itself before iteration ``at``, and with ``children`` to the
            loader's processes; ``torn``: fraction of its first
            checkpoint after which it dies.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
    import train
    from mmengine.config import Config

    import padre3d.io.files
    from padre3d.training.loop import ResumableTrainLoop

    torch.set_num_threads(1)
    # Formatting a config for the log takes seconds.
    Config.pretty_text = property(lambda cfg: "")
    step = ResumableTrainLoop.run_iter

    def run_iter(loop, index, batch):
        began.set()
        if loop.iter == orders.get("at"):
            os.kill(os.getpid(), orders["signal"])
            if orders.get("children"):
                end_children(orders["signal"])
        step(loop, index, batch)

    def die(descriptor):
        os.ftruncate(descriptor, int(os.fstat(descriptor).st_size * orders["torn"]))
        os.kill(os.getpid(), signal.SIGKILL)

    ResumableTrainLoop.run_iter = run_iter
    if "torn" in orders:
        padre3d.io.files.os = type("os", (), {**vars(os), "fsync": staticmethod(die)})
    train.main(arguments)


def end_children(number: int) -> None:
    """Send a signal to the children of this process, and wait until they have ended."""
    children = multiprocessing.active_children()
    assert children
    # By another process: torch's workers leave in order when it is their parent that ends them.
    pids = [str(child.pid) for child in children]
    subprocess.run(["kill", f"-{int(number)}", *pids], check=True)
    time.sleep(1)  # their end is seen at any time in the step; here before it


def in_two_processes(work: Callable[[int, Path], None], folder: Path) -> None:
    """Call ``work(rank, folder)`` in two processes of one gloo group; both must end well."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_join, args=(work, rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]


def _join(work: Callable[[int, Path], None], rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/group", world_size=2, rank=rank)
    work(rank, folder)


def assert_same_training(got: Path, wanted: Path) -> None:
    """Two checkpoints agree in every bit of weights, optimizer and schedules."""
    from padre3d.training.checkpoint import load_checkpoint_file

    one, two = load_checkpoint_file(got), load_checkpoint_file(wanted)
    for name in ("epoch", "iter"):
        assert one["meta"][name] == two["meta"][name]
    for name in ("state_dict", "optimizer", "param_schedulers"):
        assert same(one[name], two[name]), name


def same(one: object, two: object) -> bool:
    """Equal in type, structure and bits."""
    if type(one) is not type(two):
        return False
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two
