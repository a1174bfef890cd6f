"""What every mixer does with its inputs before its own mathematics."""

from __future__ import annotations

from torch import Tensor

from padre3d.checks import check_shape


def check_mixer_inputs(x: Tensor, pos: Tensor | None, mask: Tensor | None, dim: int) -> None:
    """Check x (G, L, dim), pos (G, L, dim) or None and mask (G, L) or None.

    Raises:
        ValueError: names the tensor, the expected shape and the shape that came.
    """
    check_shape(x, f"G L {dim}", name="mixer x")
    if pos is not None and pos.shape != x.shape:
        raise ValueError(f"mixer pos: expected shape {tuple(x.shape)}, got {tuple(pos.shape)}")
    if mask is not None and mask.shape != x.shape[:2]:
        raise ValueError(
            f"mixer mask: expected shape {tuple(x.shape[:2])}, got {tuple(mask.shape)}"
        )


def with_position(x: Tensor, pos: Tensor | None) -> Tensor:
    """``x + pos`` where there is a position embedding."""
    return x if pos is None else x + pos


def zero_masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero the masked tokens of x (G, L, D), whatever they hold (NaN included)."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
