"""DSVT's sets against their definition, window by window."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from padre3d.sequences import TokenPlanner, WindowPartition, WindowSets

from .samples import random_coords

NY, NX, K = 17, 22, 7
PARTITION = WindowPartition(NY, NX, (6, 5), (3, 2))
SETS = WindowSets(PARTITION, K)


def expected_sets(coords, x_major):
    """Windows in order; slot i of S K slots holds rank floor(i n / (S K))."""
    windows = {}
    for row, (b, y, x) in enumerate(coords.tolist()):
        windows.setdefault((b, (x + 3) // 6, (y + 2) // 5), []).append(
            ((x, y) if x_major else (y, x), row)
        )
    sets = []
    for key in sorted(windows):
        rows = [row for _, row in sorted(windows[key])]
        n, total = len(rows), math.ceil(len(rows) / K) * K
        slots = [rows[i * n // total] for i in range(total)]
        sets += [slots[i : i + K] for i in range(0, total, K)]
    return sets


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 250), min_size=1, max_size=3), st.integers(0, 100))
def test_equals_the_definition(device, counts, seed):
    coords = random_coords(counts, NY, NX, seed).to(device)
    layouts = copy.deepcopy(SETS).to(device)(coords, len(counts))
    for layout, x_major in zip(layouts, (False, True), strict=True):
        expected = expected_sets(coords, x_major)
        assert layout.index.tolist() == expected
        for valid, row in zip(layout.valid.tolist(), expected, strict=True):
            assert valid == [i == 0 or row[i] != row[i - 1] for i in range(K)]
        flat = layout.index.flatten().tolist()
        assert layout.slot.tolist() == [flat.index(row) for row in range(len(coords))]


def test_no_set_mixes_samples_and_all_pillars_are_there():
    coords = random_coords([100, 0, 150, 0], NY, NX)
    for layout in SETS(coords, 4):
        samples = coords[layout.index, 0]
        assert torch.equal(samples, samples[:, :1].expand_as(samples))
        assert torch.equal(layout.index.unique(), torch.arange(250))


def test_no_pillars_no_sets():
    for layout in SETS(torch.zeros((0, 3), dtype=torch.long), 2):
        assert layout.index.shape == (0, K)
        assert layout.slot.shape == (0,)


def test_planner_puts_each_layout_at_its_key(device):
    """Layers ask in an order in which the shifts alternate; every one gets its own sets."""
    partitions = [WindowPartition(NY, NX, (6, 5)), PARTITION]
    layers = [("window_x_major", 1), ("window_y_major", 0), ("window_y_major", 1)] * 2
    coords = random_coords([120, 80], NY, NX).to(device)
    planner = TokenPlanner(partitions, layers, "set", K).to(device)
    plan = planner(coords, 2)
    assert planner.layer_to_layout == (0, 1, 2, 0, 1, 2)
    assert plan.layouts[0].index.tolist() == expected_sets(coords, True)
    assert plan.layouts[2].index.tolist() == expected_sets(coords, False)
    unshifted = WindowSets(partitions[0], K, [False]).to(device)(coords, 2)[0]
    assert torch.equal(plan.layouts[1].index, unshifted.index)
    for window_index, partition in zip(plan.window_index, partitions, strict=True):
        assert torch.equal(window_index, partition.window_index_of(coords[:, 1:]))


def test_planner_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="orders of sets"):
        TokenPlanner([PARTITION], [("hilbert", 0)], "set", K)
    with pytest.raises(ValueError, match="layout: expected one of"):
        TokenPlanner([PARTITION], [("hilbert", 0)], "graph", K)
    with pytest.raises(ValueError, match="set_size"):
        WindowSets(PARTITION, 0)
