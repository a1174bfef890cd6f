"""Reductions of points over pillars."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# torch.embedding_bag takes its modes as numbers.
MAX_MODE = 2


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
    if not (torch.is_grad_enabled() and values.requires_grad):
        index = rows.unsqueeze(1).expand_as(values)
        start = values.new_full((num_rows, values.shape[1]), float("-inf"))
        return start.scatter_reduce(0, index, values, "amax", include_self=True)
    order = rows.argsort(stable=True)
    first = _first_largest(values.detach(), order, rows[order], num_rows)[1]
    return values.gather(0, first)


def linear_segment_max(points: Tensor, weight: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """``segment_max(F.linear(points, weight), rows, num_rows)``, with a gradient in ``weight``.

    The gradient is made of the points that are a maximum, of which there are far fewer than
    entries of the product (P, C).

    Args:
        points: (P, K) without a gradient.
        weight: (C, K).
        rows: (P,) row of each point; every row must occur.
        num_rows: number of rows.
    """
    if torch.is_grad_enabled() and weight.requires_grad and not points.requires_grad:
        return _LinearSegmentMax.apply(points, weight, rows, num_rows)
    return segment_max(F.linear(points, weight), rows, num_rows)


class _LinearSegmentMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, weight: Tensor, rows: Tensor, num_rows: int) -> Tensor:
        order = rows.argsort(stable=True)
        ordered = points.index_select(0, order)
        count = torch.arange(len(order), device=order.device)
        product = F.linear(ordered, weight)
        largest, first = _first_largest(product, count, rows.index_select(0, order), num_rows)
        ctx.save_for_backward(ordered, first)
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:  # type: ignore[override]
        ordered, first = ctx.saved_tensors
        # A column at a time: (num_rows, C, K) would be the largest tensor of a training step.
        columns = [(column.take(first) * gradient).sum(0) for column in ordered.T.contiguous()]
        return None, torch.stack(columns, 1), None, None


def _first_largest(
    values: Tensor, order: Tensor, sorted_rows: Tensor, num_rows: int
) -> tuple[Tensor, Tensor]:
    """Maxima (num_rows, C) of values (P, C), and the first value's position that has it.

    Args:
        values: what to compare.
        order: (P,) positions of the values, those of one row together and ascending.
        sorted_rows: (P,) their rows.
        num_rows: number of rows.
    """
    numbers = torch.arange(num_rows, device=order.device)
    start = torch.searchsorted(sorted_rows, numbers)
    largest, _, _, first = torch.embedding_bag(values, order, start, mode=MAX_MODE)
    return largest, first
