"""The function behind every learned position embedding: Linear, BatchNorm, ReLU, Linear."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.layers.half_precision import full_precision
from padre3d.layers.norms import RowBatchNorm


def embed_positions(
    positions: Tensor,
    first: nn.Module,
    norm: nn.Module,
    second: nn.Module,
    counts: Tensor | None = None,
    total: int = 0,
) -> Tensor:
    """Embed positions in single precision: batch statistics are not for half precision.

    Args:
        positions: (N, 2) in cells.
        first, second: the linear layers 2 -> C and C -> C.
        norm: the normalisation between them.
        counts: (N,) how often each position occurs: the statistics of the batch are weighted with
            it. A norm that was converted to SyncBatchNorm knows no weights and does not use it.
        total: the sum of ``counts``, which the caller knows without asking the device.

    Returns:
        (N, C) embeddings.
    """
    with full_precision(positions):
        hidden = first(positions)
        weighted = counts is not None and isinstance(norm, RowBatchNorm)
        hidden = norm(hidden, counts, total) if weighted else norm(hidden)
        return second(F.relu(hidden))
