"""Hooks of a training."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from padre3d.data.gt_sampling import SampleGroundTruth
from padre3d.training.consistency import check_consistent


class PlainCheckpointHook(Hook):
    """Keeps checkpoints free of objects that a weights-only load refuses."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Drop the smoothed log values; a resumed training starts smoothing anew."""
        if "message_hub" in checkpoint:
            checkpoint["message_hub"]["log_scalars"] = {}


class ConsistencyHook(Hook):
    """Refuses to start where data and model have another range or class list."""

    def before_run(self, runner: Runner) -> None:
        """Check the config, whatever tool started the run."""
        check_consistent(runner.cfg)


class FadeGroundTruthSampling(Hook):
    """Switch ground-truth sampling off for the last epochs, also when a training resumes there.

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
