"""Reductions of points over pillars, without sorting."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_mean(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Mean of the values (P, C) that share a row, as (num_rows, C).

    Sums are taken in float64, so that the order in which a GPU adds them is not visible in a
    float32 result.
    """
    sums = values.new_zeros((num_rows, values.shape[1]), dtype=torch.float64)
    sums.index_add_(0, rows, values.double())
    counts = sums.new_zeros(num_rows).index_add_(0, rows, sums.new_ones(len(rows)))
    return (sums / counts.clamp_min(1).unsqueeze(1)).to(values.dtype)


def segment_max(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Maximum of the values (P, C) that share a row, as (num_rows, C); every row must occur.

    The gradient goes to the first of equal values. With a gradient the maximum is read through its
    position, because the built-in backward pass shares the gradient among all equal values and
    takes several passes over (P, C) for it.
    """
    index = rows.unsqueeze(1).expand_as(values)
    start = values.new_full((num_rows, values.shape[1]), float("-inf"))
    largest = start.scatter_reduce(0, index, values.detach(), "amax", include_self=True)
    if not (torch.is_grad_enabled() and values.requires_grad):
        return largest
    number = torch.arange(len(values), device=values.device, dtype=torch.int32).unsqueeze(1)
    candidate = torch.where(values.detach() == largest[rows], number, len(values))
    first = candidate.new_full(largest.shape, len(values))
    first.scatter_reduce_(0, index, candidate, "amin", include_self=True)
    return values.gather(0, first.long())
