"""The index work of a frame: all layouts and in-window window_index the backbone's layers need."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from padre3d.sequences.orders import WINDOW_ORDERS, permutation
from padre3d.sequences.serial import SerialOrders
from padre3d.sequences.sets import WindowSets
from padre3d.sequences.windows import WindowPartition
from padre3d.structures.tokens import TokenPlan

LAYOUTS = ("sequence", "set")


class TokenPlanner(nn.Module):
    """Computes each distinct (order, shift) once, however many layers use it.

    Args:
        partitions: one window partition per shift.
        layers: for each layer the order's name and the number of its shift.
        layout: "sequence" (one sequence per sample) or "set" (DSVT's sets).
        set_size: slots per set.

    Raises:
        ValueError: on an unknown layout or order, or an order without windows in set form.
    """

    def __init__(
        self,
        partitions: Sequence[WindowPartition],
        layers: Sequence[tuple[str, int]],
        layout: str,
        set_size: int = 90,
    ) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"layout: expected one of {LAYOUTS}, got {layout!r}")
        self.partitions, self.layout = tuple(partitions), layout
        # Orders that ignore the windows are the same for every shift.
        keys = [(order, shift if order in WINDOW_ORDERS else 0) for order, shift in layers]
        self.keys = tuple(dict.fromkeys(keys))
        self.layer_to_layout = tuple(self.keys.index(key) for key in keys)
        if layout == "sequence":
            first = self.partitions[0]
            orders = [permutation(order, self.partitions[shift]) for order, shift in self.keys]
            self.serial = SerialOrders(first.ny, first.nx, orders)
        else:
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
        if self.layout == "sequence":
            return TokenPlan(tuple(self.serial(coords, batch_size)), window_index)
        found = [layout for sets in self.sets for layout in sets(coords, batch_size)]
        by_shift = sorted(range(len(self.keys)), key=lambda k: self.keys[k][1])
        layouts = [found[by_shift.index(k)] for k in range(len(self.keys))]
        return TokenPlan(tuple(layouts), window_index)
