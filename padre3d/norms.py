"""Batch normalisation that survives a batch too small to have statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RowBatchNorm(nn.BatchNorm1d):
    """BatchNorm over rows (N, C) that uses the running statistics when training with N < 2.

    A cloud with no or one point has no variance; the plain layer raises an error there. A
    conversion to SyncBatchNorm replaces this layer: that one counts rows over all processes.
    """

    def forward(self, x: Tensor, counts: Tensor | None = None, total: int = 0) -> Tensor:
        """Normalise rows (N, C) per channel.

        Args:
            x: rows.
            counts: (N,) how often each row occurs in the batch; None means once.
            total: the sum of ``counts``, which the caller knows without asking the device.
        """
        if not self.training or (len(x) if counts is None else total) < 2:
            scale, shift = evaluation_affine(self)
            return x * scale + shift
        if counts is None:
            return super().forward(x)
        return self._normalise_counted(x, counts.to(x.dtype).unsqueeze(1), total)

    def _normalise_counted(self, x: Tensor, counts: Tensor, total: int) -> Tensor:
        """The statistics of the batch in which row n stands ``counts[n]`` times."""
        mean = (x * counts).sum(0) / total
        variance = ((x - mean).square() * counts).sum(0) / total
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (total / (total - 1)), self.momentum)
        return (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


def evaluation_affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) that a batch normalisation of any kind applies in evaluation mode."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale
