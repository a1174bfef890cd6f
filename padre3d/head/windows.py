"""Which map cells lie in the window around a cell: two small tables and additions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
        kept: (y, x) offsets of the cells that are the window, see :meth:`keep`; None: all of them.

    A state dict with ``kept`` brings its own window along; one without leaves the window as it is.
    """

    y_ids: Tensor
    y_bias: Tensor
    y_carry: Tensor
    x_ids: Tensor
    x_keeps_y: Tensor
    x_bias: Tensor
    offsets: Tensor
    kept: Tensor | None
    kept_rows: Tensor
    kept_columns: Tensor

    def __init__(
        self,
        grid: PillarGrid,
        radius: int,
        wrap: bool = False,
        kept: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.nx, self.radius, self.wrap = grid.nx, radius, wrap
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
        self.register_buffer("kept", None)
        self.register_buffer("kept_rows", None, persistent=False)
        self.register_buffer("kept_columns", None, persistent=False)
        if kept is not None:
            self.keep(torch.as_tensor(kept))

    def cells(self) -> Tensor:
        """Offsets (W, 2) y, x of the window's cells, in the order of the keys."""
        if self.kept is not None:
            return self.kept
        side = torch.arange(-self.radius, self.radius + 1, device=self.offsets.device)
        return torch.cartesian_prod(side, side)

    def keep(self, offsets: Tensor) -> None:
        """Shrink the window to some of its cells, or choose others of them.

        Args:
            offsets: (K, 2) int64 y, x in cells, in any order. The proposal's own cell (0, 0) is one
                of them, so that no proposal is left without a key on the map.

        Raises:
            ValueError: if they are no such offsets, or the window wraps.
        """
        self.check_kept(offsets)
        offsets = offsets.to(self.offsets.device)
        places = (offsets + self.radius) @ offsets.new_tensor([2 * self.radius + 1, 1])
        self.kept = offsets[places.argsort()]
        self.kept_rows, self.kept_columns = (self.kept + self.radius).unbind(1)

    def check_kept(self, offsets: Tensor) -> None:
        """Raise ValueError unless :meth:`keep` can take these offsets."""
        self.check_prunable()
        if offsets.dtype != torch.int64 or offsets.dim() != 2 or offsets.shape[1] != 2:
            raise ValueError(
                "window offsets: expected whole numbers (K, 2) y, x, got "
                f"{tuple(offsets.shape)} of {offsets.dtype}"
            )
        outside = offsets[(offsets.abs() > self.radius).any(1)].tolist()
        if outside:
            raise ValueError(
                f"window offsets: expected -{self.radius}..{self.radius} cells, got {outside[0]}"
            )
        rows = [tuple(row) for row in offsets.tolist()]
        if len(set(rows)) != len(rows) or (0, 0) not in rows:
            raise ValueError(
                "window offsets: expected different ones, (0, 0) among them, got "
                f"{len(set(rows))} different of {len(rows)}"
            )

    def check_prunable(self) -> None:
        """Raise ValueError if the window wraps: its keys are no fixed offsets then."""
        if self.wrap:
            raise ValueError(
                "window offsets: expected a head without dsvt_compat, whose window continues "
                "beyond the border in the neighbouring column"
            )

    @property
    def optional_state(self) -> Mapping[str, Callable[[Tensor], None]]:
        """Keys that a checkpoint may or may not have, in any size, with what refuses a value."""
        return {"kept": self.check_kept}

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        key = f"{prefix}kept"
        if key in state_dict:
            self.keep(state_dict[key])
        if self.kept is not None:  # in the window's order, or what the state dict has not
            state_dict = {**state_dict, key: self.kept}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Cell ids (N,) to the ids (N, W) of their windows and the bias (N, W) of the logits.

        The window is ordered by y, then x. The bias is 0, or about -1e4 for a cell outside the map
        (whose id is that of some cell inside, so that it can be gathered).
        """
        y = cells // self.nx
        if self.kept is not None:
            return self._kept_cells(y, cells - y * self.nx)
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

    def _kept_cells(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and bias (N, K) of the cells that were kept around the rows and columns (N,)."""
        x = x[:, None] + self.offsets

        def of_kept(y_table: Tensor, x_table: Tensor) -> Tensor:
            of_rows = y_table.index_select(0, y).index_select(1, self.kept_rows)
            of_columns = x_table.index_select(0, x.flatten()).view(x.shape)
            return of_rows + of_columns.index_select(1, self.kept_columns)

        return of_kept(self.y_ids, self.x_ids), of_kept(self.y_bias, self.x_bias)
