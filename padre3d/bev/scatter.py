"""Pillars onto the bird's-eye-view map, in two equal forms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.structures.grid_index import cell_ids, cell_to_pillar_map
from padre3d.structures.pillars import Pillars

__all__ = ["cell_to_pillar_map", "gather_to_map", "scatter_to_map"]


def scatter_to_map(pillars: Pillars, ny: int, nx: int) -> Tensor:
    """Write the pillars into an empty map.

    Args:
        pillars: features (N, C) and their coordinates.
        ny: cells along y.
        nx: cells along x.

    Returns:
        (B, C, ny, nx), zero where there is no pillar, in channels-last memory: each pillar is
        written as one piece, and convolutions read it as it is. Where gradients are recorded on a
        processor whose widest vectors are AVX2 it is channels-first memory.
    """
    channels = pillars.features.shape[1]
    ids = cell_ids(pillars.coords, ny, nx)
    if _trains_channels_first(pillars.features):
        canvas = pillars.features.new_zeros((pillars.batch_size, channels, ny * nx))
        batch = torch.div(ids, ny * nx, rounding_mode="floor")
        canvas[batch, :, ids - batch * (ny * nx)] = pillars.features
        return canvas.view(pillars.batch_size, channels, ny, nx)
    canvas = pillars.features.new_zeros((pillars.batch_size * ny * nx, channels))
    canvas.index_copy_(0, ids, pillars.features)
    return canvas.view(pillars.batch_size, ny, nx, channels).permute(0, 3, 1, 2)


def _trains_channels_first(features: Tensor) -> bool:
    """Whether the weight gradients of channels-last convolutions are the slow ones.

    With AVX2 they take two to three times as long as those of channels-first convolutions (oneDNN
    of torch 2.13); processors on which that was not measured keep one format for everything.
    """
    if not torch.is_grad_enabled() or features.device.type != "cpu":
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def gather_to_map(features: Tensor, cell_to_pillar: Tensor) -> Tensor:
    """Equal to :func:`scatter_to_map`, as one gather: the form that exports.

    Args:
        features: (N, C) pillar features.
        cell_to_pillar: (B, ny, nx) from :func:`cell_to_pillar_map`.
    """
    return F.embedding(cell_to_pillar, F.pad(features, (0, 0, 1, 0))).permute(0, 3, 1, 2)
