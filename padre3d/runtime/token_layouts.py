"""The graph's index inputs of a frame, in numpy: token orders, windows, map of cells to pillars.

Equal to :class:`padre3d.sequences.TokenPlanner` for one sample. The cells of each order are
constants; a frame's order is those of them that are occupied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Layout(NamedTuple):
    """Token slots of one order: index (G, L) of pillars, valid (G, L), slot (N,) of each pillar."""

    index: np.ndarray  # type: ignore[assignment]  # hides the method of tuples
    valid: np.ndarray
    slot: np.ndarray


def index_inputs(
    cells: np.ndarray,
    tables: Mapping[str, Any],
    set_size: int | None,
    shape: tuple[int, int],
    size: int | None = None,
    sets: int | None = None,
) -> dict[str, np.ndarray]:
    """The graph's inputs beside the features; ``index``, ``slot``, ``valid`` if it has orders.

    Args:
        cells: (N,) ascending ids of the occupied cells.
        tables: of :func:`padre3d.export.runtime_tables.runtime_tables`.
        set_size: slots of a set, None without sets.
        shape: cells of the grid along y and x.
        size: pillars to pad to, None without padding.
        sets: sets to pad to, None for as many as the order with the most has.
    """
    row = np.full(shape[0] * shape[1], -1, np.int32)
    row[cells] = np.arange(len(cells), dtype=np.int32)
    padding = (size or len(cells)) - len(cells)
    inputs = {
        "window_index": np.pad(tables["window_index"][:, cells], ((0, 0), (0, padding))),
        "cell_to_pillar": (row + 1).reshape(1, *shape),
        "cells": np.pad(np.asarray(cells, np.int32), (0, padding)),
    }
    orders = [_occupied(np.take(row, order, mode="clip")) for order in tables["cells"]]
    if not orders:
        return inputs
    if set_size is None:
        layouts = [_sequence(order, padding) for order in orders]
    else:
        windows = (tables["windows"][shift][cells] for shift in tables["layout_shift"])
        layouts = [_sets(o, w, set_size) for o, w in zip(orders, windows, strict=True)]
        layouts = _same_number(layouts, sets)
    return {
        **inputs,
        "index": np.stack([layout.index for layout in layouts]),
        "slot": np.stack([np.pad(layout.slot, (0, padding)) for layout in layouts]),
        "valid": np.stack([layout.valid for layout in layouts]),
    }


def most_sets(pillars: int, set_size: int, windows: int) -> int:
    """An upper bound of the number of sets that so many pillars make, wherever they are."""
    return pillars // set_size + min(pillars, windows)


def _occupied(rows: np.ndarray) -> np.ndarray:
    return rows[rows >= 0]


def _sequence(order: np.ndarray, padding: int) -> Layout:
    slot = np.empty_like(order)
    slot[order] = np.arange(len(order), dtype=np.int32)
    index = np.pad(order, (0, padding))[None]
    return Layout(index, np.arange(index.shape[1])[None] < len(order), slot)


def _sets(order: np.ndarray, window: np.ndarray, set_size: int) -> Layout:
    """DSVT's sets of pillars (N,) that are sorted by window; see padre3d/sequences/sets.py."""
    counts = np.bincount(window)
    sets = -(-counts // set_size)
    first_rank, first_set = np.cumsum(counts) - counts, np.cumsum(sets) - sets
    owner = np.repeat(np.arange(len(counts)), sets)
    local = np.arange(len(owner)) - first_set[owner]
    slots = np.arange(set_size) + local[:, None] * set_size
    ranks = slots * counts[owner, None] // (sets[owner, None] * set_size)
    index = order[first_rank[owner, None] + ranks]
    valid = np.ones(index.shape, bool)
    valid[:, 1:] = index[:, 1:] != index[:, :-1]
    window = window[order]
    n, total = counts[window], sets[window] * set_size
    in_window = np.arange(len(order)) - first_rank[window]
    slot = np.empty_like(order)
    slot[order] = first_set[window] * set_size + -(-in_window * total // n)
    return Layout(index, valid, slot)


def _same_number(layouts: list[Layout], sets: int | None) -> list[Layout]:
    """Surplus sets that hold no token, so that all layouts have the same number."""
    most = max(len(layout.index) for layout in layouts) if sets is None else sets
    layouts_of_most = []
    for index, valid, slot in layouts:
        surplus = ((0, most - len(index)), (0, 0))
        layouts_of_most.append(Layout(np.pad(index, surplus), np.pad(valid, surplus), slot))
    return layouts_of_most
