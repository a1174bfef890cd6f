"""Reductions over pillars against their sorted or looped definition."""

import torch

from padre3d.pillars.segments import segment_max, segment_mean
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
