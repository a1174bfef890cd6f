"""A training that meets a loss which is no number stops, and says with which frames."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner


class FiniteLossHook(Hook):
    """Stops at a loss that is NaN or infinite, before the checkpoint of that step is written.

    Args:
        amp_patience: such losses in a row that a training with a scaler of half precision passes
            over, because the scaler skips their step.
    """

    priority = "VERY_HIGH"

    def __init__(self, amp_patience: int = 20) -> None:
        self.amp_patience = amp_patience
        self.in_a_row = 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the losses of the step.

        Raises:
            ValueError: names the losses and the frames of the batch.
        """
        losses = {name: v for name, v in (outputs or {}).items() if "loss" in name}
        bad = [name for name, v in losses.items() if not torch.isfinite(torch.as_tensor(v)).all()]
        self.in_a_row = self.in_a_row + 1 if bad else 0
        scaled = isinstance(getattr(runner, "optim_wrapper", None), AmpOptimWrapper)
        if not bad or (scaled and self.in_a_row <= self.amp_patience):
            return
        raise ValueError(
            f"iteration {runner.iter + 1}: expected finite losses, got "
            f"{', '.join(f'{name} {float(losses[name]):g}' for name in bad)} with the frames "
            f"{', '.join(frames_of(runner, data_batch))}; no checkpoint of this step is written"
        )


def frames_of(runner: Runner, data_batch: Any) -> list[str]:
    """Tokens of the frames of a batch, else what is known of them."""
    samples = data_batch.get("data_samples", []) if isinstance(data_batch, dict) else []
    return [_token(runner.train_dataloader.dataset, sample) for sample in samples]


def _token(dataset: Any, sample: Any) -> str:
    number = sample.metainfo.get("sample_idx")
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        if info.get("sample_idx") == number and "token" in info:
            return str(info["token"])
    return str(sample.metainfo.get("lidar_path", number))
