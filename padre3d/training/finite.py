"""A training that meets a loss which is no number stops, and says with which frames."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner

from padre3d.training.distributed import largest


class FiniteLossHook(Hook):
    """Stops at a loss that is NaN or infinite, before the checkpoint of that step is written.

    Of several processes all stop, whichever had it: its gradient reaches the weights of all.

    In half precision a step that overflows is skipped by the scaler, but its forward pass has
    moved the running statistics of the normalisations already: they are put back.

    Args:
        amp_patience: such losses in a row that a training with a scaler of half precision passes
            over, because the scaler skips their step.
    """

    priority = "VERY_HIGH"

    def __init__(self, amp_patience: int = 20) -> None:
        self.amp_patience = amp_patience
        self.in_a_row = 0
        self.kept: list[torch.Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """Keep the statistics that a first step may spoil."""
        self.kept = [buffer.clone() for buffer in statistics(runner.model)]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the losses of the step.

        Raises:
            ValueError: names the losses and the frames of the batch.
        """
        losses = {name: v for name, v in (outputs or {}).items() if "loss" in name}
        bad = [name for name, v in losses.items() if not torch.isfinite(torch.as_tensor(v)).all()]
        (anywhere,) = largest(len(bad))
        self.in_a_row = self.in_a_row + 1 if anywhere else 0
        scaled = isinstance(getattr(runner, "optim_wrapper", None), AmpOptimWrapper)
        if scaled:
            self._keep_or_restore(statistics(runner.model))
        if not anywhere or (scaled and self.in_a_row <= self.amp_patience):
            return
        got = "others in another process"
        if bad:
            values = ", ".join(f"{name} {float(losses[name]):g}" for name in bad)
            got = f"{values} with the frames {', '.join(frames_of(runner, data_batch))}"
        raise ValueError(
            f"iteration {runner.iter + 1}: expected finite losses, got {got}; no checkpoint "
            "of this step is written"
        )

    @torch.no_grad()
    def _keep_or_restore(self, now: list[torch.Tensor]) -> None:
        # All at once: every question to a GPU waits for it. The statistics are the same on all
        # processes where they are synchronised, so the answer is, too.
        finite = not now or bool(torch.stack([b.sum().float() for b in now]).isfinite().all())
        if len(self.kept) != len(now):
            self.kept = [buffer.clone() for buffer in now]
        into, source = (self.kept, now) if finite else (now, self.kept)
        for target, values in zip(into, source, strict=True):
            target.copy_(values)


def statistics(model: torch.nn.Module) -> list[torch.Tensor]:
    """The running means and variances of a model's normalisations."""
    return [
        b for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var"))
    ]


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
