"""Constant orders of the grid against their definitions."""

import pytest
import torch

from padre3d.sequences import ORDERS, WindowPartition, permutation
from padre3d.sequences.orders import hilbert_permutation

PARTITION = WindowPartition(ny=17, nx=22, window=(6, 5), shift=(3, 2))


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_a_permutation(order):
    cells = permutation(order, PARTITION)
    assert torch.equal(cells.sort().values, torch.arange(17 * 22))


@pytest.mark.parametrize("order", ["window_y_major", "window_x_major"])
def test_window_orders_are_lexicographic(order):
    keys = []
    for cell in permutation(order, PARTITION).tolist():
        y, x = divmod(cell, 22)
        inner = (x, y) if order == "window_x_major" else (y, x)
        keys.append(((x + 3) // 6, (y + 2) // 5, *inner))
    assert keys == sorted(keys)


def test_hilbert_curve_of_order_one_and_two():
    """Drawn by hand: a U, and four of them."""
    assert hilbert_permutation(2, 2).tolist() == [0, 2, 3, 1]
    by_hand = [0, 1, 5, 4, 8, 12, 13, 9, 10, 14, 15, 11, 7, 6, 2, 3]
    assert hilbert_permutation(4, 4).tolist() == by_hand


def test_hilbert_curve_takes_steps_of_one_cell():
    cells = hilbert_permutation(64, 64)
    y, x = cells // 64, cells % 64
    assert torch.equal(y.diff().abs() + x.diff().abs(), torch.ones(64 * 64 - 1, dtype=torch.long))


def test_hilbert_on_another_shape_keeps_the_order_of_the_square():
    cells = hilbert_permutation(17, 22)
    square = hilbert_permutation(32, 32)
    y, x = square // 32, square % 32
    inside = (y < 17) & (x < 22)
    assert torch.equal(cells, y[inside] * 22 + x[inside])


def test_transposed_hilbert_exchanges_the_axes():
    tall = WindowPartition(ny=22, nx=17, window=(6, 5))
    cells = permutation("hilbert_transposed", tall)
    expected = hilbert_permutation(17, 22)
    assert torch.equal(cells, expected % 22 * 17 + expected // 22)


def test_random_depends_on_its_seed_only():
    first = permutation("random:3", PARTITION)
    assert torch.equal(first, permutation("random:3", PARTITION))
    assert not torch.equal(first, permutation("random:4", PARTITION))


@pytest.mark.parametrize("order", ["zigzag", "random:x", ""])
def test_unknown_order_lists_the_known_ones(order):
    with pytest.raises(ValueError, match="window_y_major.*hilbert"):
        permutation(order, PARTITION)


@pytest.mark.parametrize(
    ("window", "shift"), [((0, 5), (0, 0)), ((6, 5), (6, 0)), ((6, 5), (0, -1)), ((6,), (0,))]
)
def test_bad_windows_are_named(window, shift):
    with pytest.raises(ValueError, match="window|shift"):
        WindowPartition(17, 22, window, shift)
