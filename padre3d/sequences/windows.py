"""Shifted windows on the pillar grid: which window a cell lies in, and where in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# As DSVT writes it: weights that were trained with it go with these digits.
FULL_TURN = 2 * 3.1415


@dataclass(frozen=True)
class WindowPartition:
    """A partition of the (ny, nx) grid into windows, as DSVT's: cell + shift, divided by the size.

    Args:
        ny: cells of the grid along y.
        nx: cells of the grid along x.
        window: ``(x, y)`` size of a window in cells.
        shift: ``(x, y)`` shift in cells, each below the window's size.

    Raises:
        ValueError: on a size below 1 or a shift outside ``[0, window)``.
    """

    ny: int
    nx: int
    window: tuple[int, int]
    shift: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", tuple(self.window))
        object.__setattr__(self, "shift", tuple(self.shift))
        pairs = list(zip(self.window, self.shift, strict=False))
        if len(self.window) != 2 or len(self.shift) != 2 or any(w < 1 for w in self.window):
            raise ValueError(f"window: expected (x, y) cells of at least 1, got {self.window}")
        if any(not 0 <= s < w for w, s in pairs):
            raise ValueError(f"shift: expected 0 <= shift < window {self.window}, got {self.shift}")

    @property
    def num_windows_y(self) -> int:
        """Windows along y, counting those cut off by the border."""
        return (self.ny - 1 + self.shift[1]) // self.window[1] + 1

    @property
    def num_windows(self) -> int:
        """Windows that have at least one cell on the grid."""
        return ((self.nx - 1 + self.shift[0]) // self.window[0] + 1) * self.num_windows_y

    @property
    def window_cells(self) -> int:
        """Cells of a window."""
        return self.window[0] * self.window[1]

    def window_of(self, yx: Tensor) -> Tensor:
        """Window (N,) of cells (N, 2) ``[y, x]``, counted along y first, then along x."""
        wy = torch.div(yx[:, 0] + self.shift[1], self.window[1], rounding_mode="floor")
        wx = torch.div(yx[:, 1] + self.shift[0], self.window[0], rounding_mode="floor")
        return wx * self.num_windows_y + wy

    def window_index_of(self, yx: Tensor) -> Tensor:
        """Index (N,) of cells (N, 2) ``[y, x]`` inside their window: ``y * window_x + x``."""
        y = (yx[:, 0] + self.shift[1]) % self.window[1]
        x = (yx[:, 1] + self.shift[0]) % self.window[0]
        return y * self.window[0] + x

    def centred_xy(self, normalised: bool = False) -> Tensor:
        """Coordinates (window_cells, 2) ``[x, y]`` of each cell of a window, minus half of it.

        In cells; ``normalised``: from -pi to pi across the window.
        """
        y, x = torch.meshgrid(
            torch.arange(self.window[1]), torch.arange(self.window[0]), indexing="ij"
        )
        xy = torch.stack([x.flatten(), y.flatten()], 1).to(torch.get_default_dtype())
        size = torch.tensor(self.window, dtype=xy.dtype)
        xy = xy - size / 2
        return xy / size * FULL_TURN if normalised else xy


def grid_cells(ny: int, nx: int) -> Tensor:
    """All cells (ny * nx, 2) ``[y, x]`` in the order of their ids ``y * nx + x``."""
    ids = torch.arange(ny * nx)
    return torch.stack([torch.div(ids, nx, rounding_mode="floor"), ids % nx], 1)
