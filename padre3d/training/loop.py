"""The training loop: goes on in the middle of an epoch, and leaves in order when it is told to."""

from __future__ import annotations

import contextlib
import copy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from padre3d.training.checkpoint import RUNNING, STOPPED
from padre3d.training.distributed import largest
from padre3d.training.files import ATOMIC
from padre3d.training.seeds import SeededSamples, SkippingBatchSampler, seed_everything

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BATCHES = "batches_per_epoch"


class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, whose resumed training is the uninterrupted one.

    Random numbers follow from (seed, epoch, sample) and (seed, iteration). SIGINT and SIGTERM save
    ``stopped.pth`` in the work dir after the running iteration and end the process with status
    128 + signal; ``tools/train.py --resume`` goes on with the next batch. ``running.pth``, written
    every few minutes, bounds what a kill or a power cut costs. Both files are removed after the
    next checkpoint of an epoch. With accumulated gradients every epoch ends with a step.

    Args:
        runner: the runner.
        dataloader: config of the loader, without a batch sampler.
        save_minutes: between two writes of ``running.pth``; None writes none.
        **kwargs: as for ``EpochBasedTrainLoop``.

    Raises:
        ValueError: if the loader is no config, has a batch sampler or gives no batch; for
            negative minutes; when a training resumes whose epochs have another number of batches.
    """

    def __init__(
        self, runner: Runner, dataloader: dict, save_minutes: float | None = 10, **kwargs: Any
    ) -> None:
        super().__init__(runner, _resumable(dataloader), **kwargs)
        if len(self.dataloader) == 0:
            raise ValueError("train_dataloader: expected frames for a batch at least, got too few")
        if save_minutes is not None and not save_minutes >= 0:
            raise ValueError(f"save_minutes: expected 0 or more, or None, got {save_minutes!r}")
        self._save_s = None if save_minutes is None else 60 * save_minutes
        self._saved = time.monotonic()
        self._asked: int | None = None
        runner.register_hook(_EpochLength(len(self.dataloader)))

    def run(self) -> BaseModel:
        """Train; see the class."""
        with self._listening():
            return super().run()

    def run_epoch(self) -> None:
        """One epoch, or what is left of it."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        batches = self._batches(done)
        accumulated = self._count_in_epoch(done)
        for index in range(done, len(self.dataloader)):
            batch = self._next(batches)
            # Gradients that wait for the optimizer's step are in no checkpoint.
            waiting = index % accumulated
            stop, lost = self._told_to_stop(batch is None)
            if stop and (lost or not waiting):
                self._leave()
            if not waiting and self._save_due():
                self._save(RUNNING)
            seed_everything(self.runner.seed, get_rank(), self._iter)
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        work_dir = Path(self.runner.work_dir)
        if is_main_process() and (work_dir / f"epoch_{self._epoch}.pth").is_file():
            for name in (STOPPED, RUNNING):
                (work_dir / name).unlink(missing_ok=True)
            self._saved = time.monotonic()

    def _count_in_epoch(self, done: int) -> int:
        """Batches between two steps of the optimizer, counted from the epoch's begin.

        The last step of an epoch takes what is left: no gradient waits over its checkpoint.
        """
        wrapper = self.runner.optim_wrapper
        accumulated = getattr(wrapper, "_accumulative_counts", 1)
        if accumulated > 1:
            wrapper.initialize_count_status(self.runner.model, done, len(self.dataloader))
        return accumulated

    def _batches(self, done: int) -> Iterator[Any]:
        randomness = self.runner._randomness_cfg
        seed = self.runner.seed - (get_rank() if randomness.get("diff_rank_seed") else 0)
        # A checkpoint may have brought another seed than the loader was built with.
        sampler = self.dataloader.batch_sampler.sampler
        if hasattr(sampler, "seed"):
            sampler.seed = seed
        self.dataloader.dataset.start(seed, self._epoch)
        self.dataloader.batch_sampler.skip = done
        batches = iter(self.dataloader)
        self._pass_over_ended_workers()
        return batches

    def _pass_over_ended_workers(self) -> None:
        """A signal to the whole group ends the loader's processes as well.

        torch's handler of their end would raise in the middle of the step that is to be finished.
        """
        if not hasattr(signal, "SIGCHLD"):
            return
        raising = signal.getsignal(signal.SIGCHLD)
        on_main = threading.current_thread() is threading.main_thread()
        if not on_main or not callable(raising) or hasattr(raising, "passes_over"):
            return

        def ended(number: int, frame: object) -> None:
            if self._asked is None:
                raising(number, frame)  # type: ignore[arg-type]

        ended.passes_over = True  # type: ignore[attr-defined]
        signal.signal(signal.SIGCHLD, ended)

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next(batches)
        except RuntimeError:
            # A signal to the whole group ends the loader's processes too.
            if self._asked is None:
                raise
            return None

    def _told_to_stop(self, lost: bool) -> tuple[bool, bool]:
        """Whether any process was told to, and whether any lost its batch; all answer alike."""
        asked, any_lost = largest(self._asked or 0, int(lost))
        self._asked = asked or None
        return self._asked is not None, bool(any_lost)

    def _leave(self) -> None:
        """Save and exit."""
        number = signal.Signals(self._asked or 0)
        self._save(STOPPED)
        self.runner.logger.info(
            f"{number.name}: stopped after {self._iter} iterations, saved "
            f"{Path(self.runner.work_dir) / STOPPED}; go on with --resume"
        )
        sys.exit(128 + number)

    def _save_due(self) -> bool:
        return self._save_s is not None and time.monotonic() - self._saved >= self._save_s

    def _save(self, name: str) -> None:
        """A checkpoint within the epoch; only the main process writes."""
        meta = dict(epoch=self._epoch, iter=self._iter)
        self.runner.save_checkpoint(
            self.runner.work_dir, name, meta=meta, by_epoch=False, backend_args=dict(ATOMIC)
        )
        self._saved = time.monotonic()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Note the signals; a second one of a kind does what it did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def note(number: int, frame: object) -> None:
            self._asked = number
            signal.signal(number, before[signal.Signals(number)])

        for number in SIGNALS:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _EpochLength(Hook):
    """Notes in checkpoints how many batches an epoch has: a resumed training counts by it."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the number."""
        checkpoint["meta"][BATCHES] = self.batches

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse to resume with another number."""
        if runner._resume:
            check_batches(checkpoint["meta"], self.batches)


def check_batches(meta: Mapping[str, Any], batches: int) -> None:
    """Refuse a checkpoint whose iterations are not those of this training's epochs.

    Args:
        meta: the checkpoint's ``meta``.
        batches: of an epoch now.

    Raises:
        ValueError: if an epoch had another number of batches, or the iterations in a checkpoint
            that does not say so are not of its epochs.
    """
    was, done = meta.get(BATCHES), meta["iter"] - meta["epoch"] * batches
    if was == batches or (was is None and 0 <= done <= batches):
        return
    of = f"{was} batches" if was is not None else f"{meta['iter']} / {meta['epoch']} batches"
    raise ValueError(
        f"--resume: expected epochs of {of} as in the checkpoint, got {batches}: the batch size, "
        "the number of processes or the data set is another one; a new training may start from "
        "the weights, --cfg-options load_from=CHECKPOINT"
    )


def _resumable(loader: dict | DataLoader) -> dict:
    """The loader's config with samples and batches that can be resumed."""
    if not isinstance(loader, dict) or loader.get("batch_sampler") is not None:
        raise ValueError(
            "ResumableTrainLoop expected a config of train_dataloader without batch_sampler; "
            "with one of your own use EpochBasedTrainLoop"
        )
    loader = copy.deepcopy(loader)
    batches = dict(type=SkippingBatchSampler, drop_last=loader.pop("drop_last", False))
    return {
        **loader,
        "dataset": dict(type=SeededSamples, dataset=loader["dataset"]),
        "batch_sampler": batches,
    }
