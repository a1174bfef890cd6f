"""Reductions over pillars against their sorted or looped definition."""

import pytest
import torch
import torch.nn.functional as F

from padre3d.pillars.segments import linear_segment_max, segment_max, segment_mean
from padre3d.pillars.voxelise import occupied_cells


def test_occupied_cells_equal_unique(device):
    ids = torch.randint(0, 500, (300,), generator=torch.Generator().manual_seed(0)).to(device)
    cells, rows = occupied_cells(ids, 500)
    expected_cells, expected_rows = torch.unique(ids, return_inverse=True)
    assert torch.equal(cells, expected_cells)
    assert torch.equal(rows, expected_rows)


def test_segment_mean_and_max_equal_a_loop(device):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 20, (200,), generator=generator)
    rows[:20] = torch.arange(20)
    values = torch.randn((200, 3), generator=generator).to(device)
    rows = rows.to(device)
    groups = [values[rows == r] for r in range(20)]
    torch.testing.assert_close(
        segment_mean(values, rows, 20), torch.stack([g.mean(0) for g in groups])
    )
    assert torch.equal(segment_max(values, rows, 20), torch.stack([g.amax(0) for g in groups]))


def test_segment_mean_does_not_see_the_order(device):
    """Sums of large and small numbers: float32 sums would depend on the order of the points."""
    generator = torch.Generator().manual_seed(2)
    values = (
        torch.randn((1000, 1), generator=generator) * 10 ** torch.arange(1000).remainder(6)[:, None]
    )
    values = values.to(device)
    rows = torch.zeros(1000, dtype=torch.long, device=device)
    shuffled = values[torch.randperm(1000, generator=generator).to(device)]
    assert torch.equal(segment_mean(values, rows, 1), segment_mean(shuffled, rows, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_gradient_of_segment_max_goes_to_the_first_of_equal_values(device, dtype):
    rows = torch.tensor([2, 0, 1, 2, 0, 2], device=device)
    values = torch.tensor([1.0, -3, 5, 4, -3, 4], dtype=dtype, device=device)[:, None]
    values.requires_grad_()
    largest = segment_max(values, rows, 3)
    (largest * torch.tensor([[1.0], [2], [3]], dtype=dtype, device=device)).sum().backward()
    assert largest.tolist() == [[-3], [5], [4]]
    assert values.grad.tolist() == [[0], [1], [2], [3], [0], [0]]


@pytest.mark.parametrize("needs_point_gradient", [False, True])
def test_linear_segment_max_equals_product_and_built_in_maximum(device, needs_point_gradient):
    generator = torch.Generator().manual_seed(3)
    rows = torch.cat([torch.arange(40), torch.randint(0, 40, (500,), generator=generator)])
    rows = rows[torch.randperm(540, generator=generator)].to(device)
    points = torch.randn(540, 11, generator=generator, dtype=torch.float64).to(device)
    weight = torch.randn(7, 11, generator=generator, dtype=torch.float64).to(device)
    outer = torch.randn(40, 7, generator=generator, dtype=torch.float64).to(device)
    points.requires_grad_(needs_point_gradient)
    weight.requires_grad_()
    inputs = [weight, points] if needs_point_gradient else [weight]

    index = rows[:, None].expand(-1, 7)
    start = torch.full((40, 7), -torch.inf, dtype=torch.float64, device=device)
    expected = start.scatter_reduce(0, index, F.linear(points, weight), "amax")
    actual = linear_segment_max(points, weight, rows, 40)
    torch.testing.assert_close(actual, expected)
    for a, e in zip(
        torch.autograd.grad((actual * outer).sum(), inputs),
        torch.autograd.grad((expected * outer).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, e)


def test_no_point_is_no_row():
    weight = torch.ones(4, 3, requires_grad=True)
    none = linear_segment_max(torch.zeros(0, 3), weight, torch.zeros(0, dtype=torch.long), 0)
    none.sum().backward()
    assert none.shape == (0, 4)
    assert weight.grad.tolist() == [[0] * 3] * 4
