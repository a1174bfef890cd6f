"""Which map cells lie in the window around a cell: two small tables and additions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from padre3d.structures.grid import PillarGrid

# Far below any logit and still finite in float16; its exponential is exactly 0 in the softmax.
MASKED_LOGIT = -1e4


class LocalWindow(nn.Module):
    """Ids and masks of the (2r + 1)^2 cells around given cells.

    Tables over y and x replace clamps and comparisons: they are exact, and an exported graph has
    only gathers.

    Args:
        grid: the map.
        radius: r, in cells.
        wrap: the reference's behaviour. It computes ``x * ny + y`` of a neighbour and masks it only
            below 0 and from ``nx * ny`` on, so beyond the border in y its window continues in the
            neighbouring column.
    """

    y_ids: Tensor
    y_bias: Tensor
    y_carry: Tensor
    x_ids: Tensor
    x_keeps_y: Tensor
    x_bias: Tensor
    offsets: Tensor

    def __init__(self, grid: PillarGrid, radius: int, wrap: bool = False) -> None:
        super().__init__()
        self.nx, self.wrap = grid.nx, wrap
        nx, ny = grid.nx, grid.ny
        offsets = torch.arange(-radius, radius + 1)
        y = torch.arange(ny)[:, None] + offsets
        carry = torch.div(y, ny, rounding_mode="floor") if wrap else torch.zeros_like(y)
        outside_y = torch.zeros_like(y, dtype=torch.bool) if wrap else (y < 0) | (y >= ny)
        margin = radius + int(carry.abs().max())
        x = torch.arange(-margin, nx + margin)
        outside_x = (x < 0) | (x >= nx)
        x_ids = x.clamp(0, nx - 1)
        if wrap:  # a masked key of the reference is the first or the last cell of the map
            x_ids = torch.where(x >= nx, torch.full_like(x, nx * ny - 1), x_ids)
        tables = {
            "offsets": offsets + margin,
            "y_ids": (y - carry * ny).clamp(0, ny - 1) * nx,
            "y_bias": outside_y * MASKED_LOGIT,
            "y_carry": carry,
            "x_ids": x_ids,
            "x_keeps_y": (~outside_x).long() if wrap else torch.ones_like(x),
            "x_bias": outside_x * MASKED_LOGIT,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Cell ids (N,) to the ids (N, W) of their windows and the bias (N, W) of the logits.

        The window is ordered by y, then x. The bias is 0, or about -1e4 for a cell outside the map
        (whose id is that of some cell inside, so that it can be gathered).
        """
        y = cells // self.nx
        x = (cells - y * self.nx)[:, None, None] + self.offsets
        if self.wrap:
            x = x + self.y_carry.index_select(0, y)[:, :, None]
        shape = x.shape
        x = x.flatten()
        x_ids = self.x_ids.index_select(0, x).view(shape)
        x_bias = self.x_bias.index_select(0, x).view(shape)
        ids = self.y_ids.index_select(0, y)[:, :, None]
        if self.wrap:
            ids = ids * self.x_keeps_y.index_select(0, x).view(shape)
        bias = self.y_bias.index_select(0, y)[:, :, None] + x_bias
        return (ids + x_ids).flatten(1), bias.flatten(1)
