"""Pillars onto the bird's-eye-view map, in two equal forms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.types import Pillars


def scatter_to_map(pillars: Pillars, ny: int, nx: int) -> Tensor:
    """Write the pillars into an empty map.

    Args:
        pillars: features (N, C) and their coordinates.
        ny: cells along y.
        nx: cells along x.

    Returns:
        (B, C, ny, nx), zero where there is no pillar, in channels-last memory: each pillar is
        written as one piece, and convolutions read it as it is.
    """
    channels = pillars.features.shape[1]
    canvas = pillars.features.new_zeros((pillars.batch_size * ny * nx, channels))
    canvas.index_copy_(0, _cell_ids(pillars.coords, ny, nx), pillars.features)
    return canvas.view(pillars.batch_size, ny, nx, channels).permute(0, 3, 1, 2)


def inverse_map(coords: Tensor, batch_size: int, ny: int, nx: int) -> Tensor:
    """For each cell, 1 + the row of its pillar, or 0 without one: (B, ny, nx) int64."""
    rows = torch.zeros(batch_size * ny * nx, dtype=torch.long, device=coords.device)
    rows[_cell_ids(coords, ny, nx)] = torch.arange(1, len(coords) + 1, device=coords.device)
    return rows.view(batch_size, ny, nx)


def map_from_inverse(features: Tensor, inverse: Tensor) -> Tensor:
    """Equal to :func:`scatter_to_map`, as one gather: the form that exports.

    Args:
        features: (N, C) pillar features.
        inverse: (B, ny, nx) from :func:`inverse_map`.
    """
    return F.embedding(inverse, F.pad(features, (0, 0, 1, 0))).permute(0, 3, 1, 2)


def _cell_ids(coords: Tensor, ny: int, nx: int) -> Tensor:
    return (coords[:, 0] * ny + coords[:, 1]) * nx + coords[:, 2]
