"""DSVT's sets: the pillars of a window in groups of exactly K slots.

A window with n pillars makes S = ceil(n / K) sets. Slot i of its S K slots holds the pillar of rank
floor(i n / (S K)) in the window's order (DSVT, Eq. 3-4), so neighbouring slots may repeat a pillar.
The first slot of the pillar of rank r is then ceil(r S K / n): no search is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from padre3d.sequences.orders import window_permutation
from padre3d.sequences.serial import SerialOrders
from padre3d.sequences.windows import WindowPartition, grid_cells
from padre3d.structures.tokens import TokenLayout


class WindowSets(nn.Module):
    """Set form of the tokens for one window partition: y-major and x-major sets.

    Args:
        partition: the grid and its windows.
        set_size: K, slots per set.
        x_major: for each layout wanted, whether its windows are sorted by (x, y) or by (y, x).
    """

    window_ends: Tensor

    def __init__(
        self, partition: WindowPartition, set_size: int, x_major: Sequence[bool] = (False, True)
    ) -> None:
        super().__init__()
        if set_size < 1:
            raise ValueError(f"set_size: expected at least 1, got {set_size}")
        self.partition, self.set_size = partition, set_size
        orders = [window_permutation(partition, x) for x in x_major]
        self.orders = SerialOrders(partition.ny, partition.nx, orders)
        window = partition.window_of(grid_cells(partition.ny, partition.nx))
        ends = torch.bincount(window, minlength=partition.num_windows).cumsum(0) - 1
        self.register_buffer("window_ends", ends, persistent=False)

    def forward(self, coords: Tensor, batch_size: int) -> list[TokenLayout]:
        """Lay out the pillars in sets; one number, the count of sets, is read by the host.

        Args:
            coords: (N, 3) pillar coordinates ``[batch, y, x]``, ascending.
            batch_size: number of samples.

        Returns:
            One layout per entry of ``x_major``: index (sets, K); valid is False where a slot
            repeats the pillar of the slot before it in its set; a set holds one sample only.
        """
        sums = self.orders.prefix_sums(coords, batch_size)
        # Both orders visit the windows alike, so counts and sets are computed once.
        before = sums[:, 0, self.window_ends].long()
        counts = before.diff(dim=1, prepend=before.new_zeros((batch_size, 1))).flatten()
        sets = torch.div(counts + self.set_size - 1, self.set_size, rounding_mode="floor")
        ranks, first_rank, first_slot = self._slots(counts, sets)
        sample = coords[:, 0]
        window = sample * self.partition.num_windows + self.partition.window_of(coords[:, 1:])
        # A sample's own prefix sum starts at 0: its pillars before the window's first one.
        first_in_sample = first_rank[window] - first_rank[sample * self.partition.num_windows]
        layouts = []
        for k, rank in enumerate(self.orders.ranks_of(coords)):
            rank = sums[sample, k, rank].long() - 1
            in_window = rank - first_in_sample
            slots = sets[window] * self.set_size
            offset = torch.div(
                in_window * slots + counts[window] - 1, counts[window], rounding_mode="floor"
            )
            in_order = torch.empty_like(rank)
            in_order[first_rank[window] + in_window] = torch.arange(len(rank), device=rank.device)
            layouts.append(self._layout(in_order[ranks], first_slot[window] + offset))
        return layouts

    def _slots(self, counts: Tensor, sets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Global rank of each slot (sets, K); first rank and first slot of each window."""
        first_rank = counts.cumsum(0) - counts
        first_set = sets.cumsum(0) - sets
        owner = torch.repeat_interleave(sets)
        local = torch.arange(len(owner), device=owner.device) - first_set[owner]
        slot = torch.arange(self.set_size, device=owner.device) + local[:, None] * self.set_size
        n, total = counts[owner, None], sets[owner, None] * self.set_size
        rank = torch.div(slot * n, total, rounding_mode="floor")
        return first_rank[owner, None] + rank, first_rank, first_set * self.set_size

    @staticmethod
    def _layout(index: Tensor, slot: Tensor) -> TokenLayout:
        valid = torch.ones_like(index, dtype=torch.bool)
        valid[:, 1:] = index[:, 1:] != index[:, :-1]
        return TokenLayout(index, valid, slot)
