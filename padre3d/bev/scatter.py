"""Pillars onto the bird's-eye-view map, in two equal forms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.structures.pillars import Pillars


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


def cell_to_pillar_map(coords: Tensor, batch_size: int, ny: int, nx: int) -> Tensor:
    """For each cell, 1 + the row of its pillar, or 0 without one: (B, ny, nx) int64."""
    rows = torch.zeros(batch_size * ny * nx, dtype=torch.long, device=coords.device)
    rows[_cell_ids(coords, ny, nx)] = torch.arange(1, len(coords) + 1, device=coords.device)
    return rows.view(batch_size, ny, nx)


def gather_to_map(features: Tensor, cell_to_pillar: Tensor) -> Tensor:
    """Equal to :func:`scatter_to_map`, as one gather: the form that exports.

    Args:
        features: (N, C) pillar features.
        cell_to_pillar: (B, ny, nx) from :func:`cell_to_pillar_map`.
    """
    return F.embedding(cell_to_pillar, F.pad(features, (0, 0, 1, 0))).permute(0, 3, 1, 2)


def _cell_ids(coords: Tensor, ny: int, nx: int) -> Tensor:
    return (coords[:, 0] * ny + coords[:, 1]) * nx + coords[:, 2]
