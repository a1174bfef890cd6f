"""The index work of a frame: all layouts and in-window window_index the backbone's layers need."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from padre3d.sequences.orders import WINDOW_ORDERS, permutation
from padre3d.sequences.serial import SerialOrders
from padre3d.sequences.sets import WindowSets
from padre3d.sequences.windows import WindowPartition
from padre3d.structures.grid_index import GridIndex
from padre3d.structures.tokens import TokenLayout, TokenPlan

LAYOUTS = ("sequence", "set", "grid")


class TokenPlanner(nn.Module):
    """Computes each distinct (order, shift) once, however many layers use it.

    Args:
        partitions: one window partition per shift.
        layers: for each layer the order's name and the number of its shift, or None for a layer
            of the layout "grid", which has no order.
        layout: of the layers that have an order, "sequence" (one sequence per sample) or "set"
            (DSVT's sets); "grid" if none has.
        set_size: slots per set.

    Raises:
        ValueError: on an unknown layout or order, or an order without windows in set form.

    Attributes:
        keys: the distinct (order, shift) of the layers.
        layer_to_layout: for each layer the number of its key, None on the grid.
    """

    def __init__(
        self,
        partitions: Sequence[WindowPartition],
        layers: Sequence[tuple[str, int] | None],
        layout: str,
        set_size: int = 90,
    ) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"layout: expected one of {LAYOUTS}, got {layout!r}")
        ordered = [layer for layer in layers if layer is not None]
        if (layout == "grid") == bool(ordered):
            raise ValueError(
                f"layout: expected 'grid' for layers without an order only, got {layout!r} with "
                f"{len(ordered)} of {len(layers)} layers that have an order"
            )
        self.partitions, self.layout = tuple(partitions), layout
        self.has_grid = len(ordered) < len(layers)
        # Orders that ignore the windows are the same for every shift.
        keys = [layer and (layer[0], layer[1] * (layer[0] in WINDOW_ORDERS)) for layer in layers]
        self.keys = tuple(dict.fromkeys(key for key in keys if key is not None))
        self.layer_to_layout = tuple(None if k is None else self.keys.index(k) for k in keys)
        if layout == "sequence":
            first = self.partitions[0]
            orders = [permutation(order, self.partitions[shift]) for order, shift in self.keys]
            self.serial = SerialOrders(first.ny, first.nx, orders)
        elif layout == "set":
            unknown = [order for order, _ in self.keys if order not in WINDOW_ORDERS]
            if unknown:
                raise ValueError(f"orders of sets: expected {WINDOW_ORDERS}, got {unknown}")
            self.sets = nn.ModuleList(
                WindowSets(p, set_size, [o == "window_x_major" for o, s in self.keys if s == shift])
                for shift, p in enumerate(self.partitions)
                if any(s == shift for _, s in self.keys)
            )

    def forward(self, coords: Tensor, batch_size: int) -> TokenPlan:
        """Plan for pillar coordinates (N, 3) ``[batch, y, x]`` of ``batch_size`` samples."""
        window_index = tuple(p.window_index_of(coords[:, 1:]) for p in self.partitions)
        first = self.partitions[0]
        grid = GridIndex.of(coords, batch_size, first.ny, first.nx) if self.has_grid else None
        return TokenPlan(tuple(self._layouts(coords, batch_size)), window_index, grid)

    def _layouts(self, coords: Tensor, batch_size: int) -> list[TokenLayout]:
        """The layouts of the keys, in their order."""
        if self.layout == "grid":
            return []
        if self.layout == "sequence":
            return self.serial(coords, batch_size)
        found = [layout for sets in self.sets for layout in sets(coords, batch_size)]
        by_shift = sorted(range(len(self.keys)), key=lambda k: self.keys[k][1])
        return [found[by_shift.index(k)] for k in range(len(self.keys))]
