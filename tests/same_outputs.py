"""Raw outputs of the head that should differ by rounding alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padre3d.export.parity import compare_outputs
from padre3d.head import HeadOutputs

# One rounding for each of the about sixty operations in a row from the points to the heads; for
# values up to 1, and in proportion for larger ones.
ROUNDING = 64 * torch.finfo(torch.float32).eps


def assert_close_to_largest(actual: Tensor, expected: Tensor, rounding: float = ROUNDING) -> None:
    """Sums of large terms may be small: the largest value of the tensor sets the tolerance."""
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=rounding * max(1.0, largest))


def assert_same_outputs(
    actual: HeadOutputs,
    expected: HeadOutputs,
    head: nn.Module,
    rounding: float = ROUNDING,
    least: int | None = None,
) -> None:
    """The proposals of one sample, matched by class and cell.

    Rounding may exchange tied proposals: one that the other side lacks must be a tie of the
    heatmap. ``least`` proposals, half of them by default, are the same on both sides.
    """
    result = compare_outputs("", 0, expected, actual, head)
    assert result.lost == 0, result
    assert result.matched >= (expected.query_labels.shape[1] / 2 if least is None else least), (
        result
    )
    for name, error in result.errors.items():
        largest = float(getattr(expected, name).abs().max())
        assert error <= rounding * max(1.0, largest), (name, result)


def sample_of(outputs: HeadOutputs, row: int) -> HeadOutputs:
    """One sample of a batch, B = 1."""
    return HeadOutputs(*(value[row : row + 1] for value in outputs))
