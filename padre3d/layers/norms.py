"""Batch normalisation that survives a batch too small to have statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 1024


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
        self._track(mean, variance, total)
        return (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias

    def affine_of_linear(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer does to ``x @ weight.T``, without computing that product.

        The statistics of the product follow from the mean and the covariance of ``x``. In training
        mode they update the running ones.

        Args:
            x: (N, K) rows.
            weight: (C, K).

        Returns:
            Scale and shift (C,).
        """
        if not self.training or len(x) < 2:
            return evaluation_affine(self)
        matrix = weight.double()
        centre, covariance = _moments(x)
        mean = matrix @ centre
        variance = ((matrix @ covariance) * matrix).sum(1)
        self._track(mean, variance, len(x))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return scale.to(weight.dtype), shift.to(weight.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, total: int) -> None:
        """Move the running statistics towards those of a batch of ``total`` rows."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        unbiased = variance * (total / (total - 1))
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (K,) and covariance (K, K) of rows (N, K), in float64.

    In chunks: one product of (K, N) and (N, K) takes twice the time on CPUs.
    """
    rows = x.double()
    centre = rows.mean(0)
    rows = rows - centre
    whole = len(rows) // CHUNK * CHUNK
    chunks, rest = rows[:whole].view(-1, CHUNK, rows.shape[1]), rows[whole:]
    return centre, (torch.bmm(chunks.mT, chunks).sum(0) + rest.T @ rest) / len(rows)


def evaluation_affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) that a batch normalisation of any kind applies in evaluation mode."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale
