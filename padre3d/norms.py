"""Batch normalisation that survives a batch too small to have statistics."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class RowBatchNorm(nn.BatchNorm1d):
    """BatchNorm over rows (N, C) that uses the running statistics when training with N < 2.

    A cloud with no or one point has no variance; the plain layer raises an error there. A
    conversion to SyncBatchNorm replaces this layer: that one counts rows over all processes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise rows (N, C) per channel."""
        if self.training and x.shape[0] < 2:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


def evaluation_affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) that a batch normalisation of any kind applies in evaluation mode."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale
