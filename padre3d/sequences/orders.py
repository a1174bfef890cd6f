"""Orders of all cells of the grid: constant permutations, made once.

| order | cells come |
|---|---|
| window_y_major | window by window; in a window row by row: sorted by (y, x) |
| window_x_major | window by window; in a window column by column: sorted by (x, y) |
| hilbert | along the Hilbert curve of the smallest power-of-two square that holds the grid |
| hilbert_transposed | the same with x and y exchanged |
| random | shuffled with a fixed seed: a control without any locality |

The two window orders are those of DSVT's sets (its index 0 and 1); windows come column by column.
"""

from __future__ import annotations

import torch
from torch import Tensor

from padre3d.sequences.windows import WindowPartition, grid_cells

WINDOW_ORDERS = ("window_y_major", "window_x_major")
ORDERS = (*WINDOW_ORDERS, "hilbert", "hilbert_transposed", "random")


def permutation(order: str, partition: WindowPartition) -> Tensor:
    """Cell ids (ny * nx,) in the given order.

    Args:
        order: one of :data:`ORDERS`; ``random:7`` is a shuffle with seed 7.
        partition: the grid with its windows; only the window orders look at the windows.

    Raises:
        ValueError: if there is no such order.
    """
    ny, nx = partition.ny, partition.nx
    if order in WINDOW_ORDERS:
        return window_permutation(partition, x_major=order == "window_x_major")
    if order == "hilbert":
        return hilbert_permutation(ny, nx)
    if order == "hilbert_transposed":
        # The curve on the transposed grid gives ids x * ny + y.
        ids = hilbert_permutation(nx, ny)
        return ids % ny * nx + torch.div(ids, ny, rounding_mode="floor")
    name, _, seed = order.partition(":")
    if name == "random" and (seed.isdigit() or not seed):
        generator = torch.Generator().manual_seed(int(seed or 0))
        return torch.randperm(ny * nx, generator=generator)
    raise ValueError(f"order: expected one of {ORDERS} or 'random:SEED', got {order!r}")


def window_permutation(partition: WindowPartition, x_major: bool) -> Tensor:
    """Cells sorted by window, then by (y, x), or by (x, y) if ``x_major``."""
    cells = grid_cells(partition.ny, partition.nx)
    window = partition.window_of(cells)
    y, x = cells[:, 0], cells[:, 1]
    inner = x * partition.ny + y if x_major else y * partition.nx + x
    return torch.argsort(window * (partition.ny * partition.nx) + inner)


def hilbert_permutation(ny: int, nx: int) -> Tensor:
    """Cells of the grid in the order in which the Hilbert curve visits them."""
    side = 1 << (max(ny, nx) - 1).bit_length()
    y, x = grid_cells(ny, nx).unbind(1)
    distance = torch.zeros_like(x)
    step = side // 2
    while step:
        right, upper = (x & step) > 0, (y & step) > 0
        quadrant = torch.where(right, 3, 0) ^ upper.long()
        distance += step * step * quadrant
        # The two lower quadrants hold the curve turned over a diagonal.
        mirrored = right & ~upper
        x, y = torch.where(mirrored, side - 1 - x, x), torch.where(mirrored, side - 1 - y, y)
        x, y = torch.where(upper, x, y), torch.where(upper, y, x)
        step //= 2
    return torch.argsort(distance)
