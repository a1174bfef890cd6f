"""Random pillar coordinates."""

import torch


def random_coords(counts, ny, nx, seed=0):
    """Ascending coords with the given number of pillars per sample."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for b, count in enumerate(counts):
        ids = torch.randperm(ny * nx, generator=generator)[:count].sort().values
        parts.append(torch.stack([torch.full_like(ids, b), ids // nx, ids % nx], 1))
    return torch.cat(parts)
