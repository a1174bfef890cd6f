"""Sequence layouts by counting against the sorted definition."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from padre3d.sequences import ORDERS, SerialOrders, WindowPartition, permutation
from padre3d.sequences.windows import grid_cells

from .samples import random_coords

NY, NX = 17, 22
PARTITIONS = [WindowPartition(NY, NX, (6, 5), shift) for shift in ((0, 0), (3, 2))]
PERMUTATIONS = [permutation(order, p) for p in PARTITIONS for order in ORDERS]
SERIAL = SerialOrders(NY, NX, PERMUTATIONS)


def sorted_rows(coords, b, cells):
    """Rows of sample b sorted by the position of their cell: the definition."""
    position = {cell: i for i, cell in enumerate(cells.tolist())}
    rows = [i for i, c in enumerate(coords.tolist()) if c[0] == b]
    return sorted(rows, key=lambda i: position[int(coords[i, 1] * NX + coords[i, 2])])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.integers(0, 100))
def test_equals_the_sorted_definition(device, counts, seed):
    coords = random_coords(counts, NY, NX, seed).to(device)
    layouts = copy.deepcopy(SERIAL).to(device)(coords, len(counts))
    assert len(layouts) == len(PERMUTATIONS)
    for layout, cells in zip(layouts, PERMUTATIONS, strict=True):
        assert layout.index.shape == (len(counts), max(counts))
        for b, count in enumerate(counts):
            assert layout.index[b, :count].tolist() == sorted_rows(coords, b, cells)
            assert layout.index[b, count:].eq(0).all()
        assert (layout.valid is None) == (len(counts) == 1)
        # A sample alone has no padding: without a mask every slot is a token.
        valid = layout.index >= 0 if layout.valid is None else layout.valid
        assert valid.tolist() == [[i < count for i in range(max(counts))] for count in counts]
        features = torch.randn(len(coords), 3).to(device)
        assert torch.equal(layout.scatter(layout.gather(features)), features)


def test_one_sample_needs_no_number_from_the_device():
    """Tensors without data have no numbers to read: any host synchronisation would fail."""
    with torch.device("meta"):
        coords = torch.empty((40, 3), dtype=torch.long)
    layout = SerialOrders(NY, NX, PERMUTATIONS).to("meta")(coords, 1)[0]
    assert layout.index.shape == (1, 40)


def test_neighbouring_tokens_are_neighbours_in_space():
    """What the orders are for: the random control is far worse than the others."""
    coords = random_coords([200], NY, NX, 1)
    step = {}
    for layout, order in zip(SERIAL(coords, 1), ORDERS, strict=False):
        yx = coords[layout.index[0], 1:].float()
        step[order] = yx.diff(dim=0).norm(dim=1).mean().item()
    assert max(v for k, v in step.items() if k != "random") < 0.4 * step["random"]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_places_in_the_window(partition):
    """Window, place in it and the shift together give the cell back."""
    cells = grid_cells(NY, NX)
    window, place = partition.window_of(cells), partition.window_index_of(cells)
    y = window % partition.num_windows_y * 5 + place // 6 - partition.shift[1]
    x = window // partition.num_windows_y * 6 + place % 6 - partition.shift[0]
    assert torch.equal(torch.stack([y, x], 1), cells)
    assert window.unique().tolist() == list(range(partition.num_windows))
    centred = partition.centred_xy()[place]
    assert torch.equal(centred, torch.stack([place % 6 - 3.0, place // 6 - 2.5], 1))
