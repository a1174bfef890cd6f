"""Hooks of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine.dist import all_reduce_params, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from padre3d.data.gt_sampling import SampleGroundTruth
from padre3d.training.checkpoint import RUN, last_run, run_of
from padre3d.training.config import naming_config
from padre3d.training.consistency import check_consistent
from padre3d.training.finite import statistics


class PlainCheckpointHook(Hook):
    """Keeps checkpoints free of objects that a weights-only load refuses, and numbers trainings.

    A training that starts anew in a work dir gets the next number, one that goes on from the
    furthest checkpoint keeps its own: ``--resume`` then passes over what a former training left in
    the folder.
    """

    def __init__(self) -> None:
        self.run: int | None = None
        self.done = 0

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the number of a training that resumes."""
        if runner._resume:
            self.run, self.done = run_of(checkpoint), checkpoint["meta"]["iter"]

    def before_train(self, runner: Runner) -> None:
        """Give a training its number."""
        if not is_main_process():
            return
        last, iterations = last_run(runner.work_dir)
        if self.run is not None and (self.run, self.done) >= (last, iterations):
            return
        self.run = last + 1
        if iterations >= 0:
            runner.logger.warning(
                f"{runner.work_dir} holds checkpoints of a former training, of {iterations} "
                "iterations: files of the same names are written over, and --resume goes on with "
                "this training once it has saved"
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Drop the smoothed log values; a resumed training starts smoothing anew."""
        if self.run is not None:
            checkpoint["meta"][RUN] = self.run
        if "message_hub" in checkpoint:
            checkpoint["message_hub"]["log_scalars"] = {}


class SharedStatisticsHook(Hook):
    """One set of running statistics on several GPUs, where no SyncBatchNorm keeps them alike.

    The mean of all processes' goes into validation, checkpoints and averaged weights: a score then
    belongs to the checkpoint that is saved with it. mmengine's SyncBuffersHook adds up tables of
    bool, too, which not every backend can.
    """

    # Before EMAHook swaps and CheckpointHook writes.
    priority = "HIGH"

    def after_train_epoch(self, runner: Runner) -> None:
        """Share what the epoch left."""
        self._share(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """The same in a training counted in iterations."""
        self._share(runner)

    @torch.no_grad()
    def _share(self, runner: Runner) -> None:
        averaged = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        for model in (runner.model, *averaged):
            all_reduce_params(statistics(model), op="mean")


class ConsistencyHook(Hook):
    """Refuses to start where data and model have another range or class list."""

    def before_run(self, runner: Runner) -> None:
        """Check the config, whatever tool started the run."""
        check_consistent(runner.cfg)


class FadeGroundTruthSampling(Hook):
    """Switch ground-truth sampling off for the last epochs, also when a training resumes there.

    A training counted in iterations, which has no last epochs, keeps its sampling.

    Args:
        last_epochs: epochs at the end of the training without sampling.
    """

    def __init__(self, last_epochs: int = 4) -> None:
        if last_epochs < 0:
            raise ValueError(
                f"FadeGroundTruthSampling expected last_epochs >= 0, got {last_epochs}"
            )
        self.last_epochs = last_epochs

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the samplers of the training data set for the epoch that starts."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):  # one epoch, the first and the last
            return
        disabled = runner.epoch >= runner.max_epochs - self.last_epochs
        loader = runner.train_dataloader
        changed = False
        for sampler in samplers_of(loader.dataset):
            changed |= sampler.disabled != disabled
            sampler.disabled = disabled
        if changed:
            runner.logger.info(f"ground-truth sampling {'off' if disabled else 'on'}")
            # Persistent workers hold a copy of the pipeline: the next epoch must start new ones.
            if getattr(loader, "persistent_workers", False):
                loader._iterator = None


def samplers_of(dataset: object) -> list[SampleGroundTruth]:
    """The SampleGroundTruth transforms of a data set, through any number of wrappers."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner[0] is not None:
        return [sampler for d in inner for sampler in samplers_of(d)]
    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", [])
    return [t for t in transforms if isinstance(t, SampleGroundTruth)]


@contextlib.contextmanager
def naming_config_until_first_step(runner: Runner, path: str | Path) -> Iterator[None]:
    """:func:`naming_config` for what a runner builds at the start of its training or test.

    Data sets, optimizer, schedules and loops are made there. What the steps raise passes.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(naming_config(path))
        runner.register_hook(_FirstStep(stack.close))
        yield


class _FirstStep(Hook):
    """Tells when all is built: the last hook before a training or a test."""

    priority = "LOWEST"

    def __init__(self, tell: Callable[[], None]) -> None:
        self.tell = tell

    def before_train(self, runner: Runner) -> None:
        """Tell."""
        self.tell()

    def before_test(self, runner: Runner) -> None:
        """Tell."""
        self.tell()
