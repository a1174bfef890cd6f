"""The cloud that is measured: a file, or a street of boxes scanned by 32 rotating beams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from padre3d.io import load_points
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars

GRID = PillarGrid((-54, -54, -5, 54, 54, 3), (0.3, 0.3))
SMALL_GRID = PillarGrid((-18, -18, -5, 18, 18, 3), (0.3, 0.3))
TINY_GRID = PillarGrid((-9, -9, -5, 9, 9, 3), (0.3, 0.3))
SENSOR_HEIGHT_M = 1.84
SWEEPS = 10


def load_cloud(path: Path | None, quick: bool) -> tuple[Tensor, str]:
    """Points (P, 5) and what to call them."""
    if path is not None:
        return torch.from_numpy(load_points(path)), path.name
    sweeps = 4 if quick else SWEEPS
    return synthetic_cloud(sweeps), f"synthetic street, {sweeps} sweeps"


def synthetic_cloud(sweeps: int = SWEEPS, seed: int = 0) -> Tensor:
    """(P, 5) float32 x, y, z, intensity, time lag of a vehicle that drives past random boxes."""
    rng = np.random.default_rng(seed)
    angles = np.deg2rad(np.linspace(-30.7, 10.7, 32))
    azimuth = np.arange(1085) / 1085 * 2 * np.pi
    boxes = np.concatenate(
        [
            np.c_[rng.uniform(-60, 60, (90, 2)), rng.uniform(0.5, 3, (90, 1))],
            np.c_[
                rng.uniform(-60, 60, 40),
                rng.choice([-1, 1], 40) * rng.uniform(12, 45, 40),
                rng.uniform(3, 7, 40),
            ],
        ]
    )
    clouds = []
    for sweep in range(sweeps):
        origin = np.array([-0.45 * sweep, 0.02 * sweep])
        range_m = _first_hit(boxes, origin, azimuth + rng.uniform(0, 0.006))
        ground_m = SENSOR_HEIGHT_M / np.tan(np.maximum(-angles, 1e-3))
        ground_m = ground_m[:, None] * rng.normal(1, 0.02, (len(angles), len(azimuth)))
        flat = np.minimum(ground_m, range_m + rng.normal(0, 0.03, ground_m.shape))
        z = np.maximum(flat * np.tan(angles)[:, None], -SENSOR_HEIGHT_M)
        seen = (flat < 75) & (z < 6)
        xyz = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z], -1)[seen]
        xyz[:, :2] += origin
        rest = np.c_[rng.uniform(0, 255, len(xyz)), np.full(len(xyz), 0.05 * sweep)]
        clouds.append(np.c_[xyz, rest])
    return torch.from_numpy(np.concatenate(clouds).astype(np.float32))


def _first_hit(boxes: np.ndarray, origin: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Range of the nearest round obstacle (x, y, radius) along each direction."""
    to_centre = boxes[:, :2] - origin
    along = to_centre @ np.stack([np.cos(azimuth), np.sin(azimuth)])
    square = boxes[:, 2:] ** 2 - (to_centre**2).sum(1, keepdims=True) + along**2
    hit = (square > 0) & (along > 2)
    return np.where(hit, along - np.sqrt(np.maximum(square, 0)), np.inf).min(0)


def pillars_of(points: Tensor, grid: PillarGrid, dim: int, device: torch.device) -> Pillars:
    """The cloud's occupied pillars with random features (N, dim)."""
    cells, inside = grid.cells_of(points)
    ids = torch.unique(cells[inside, 0] * grid.nx + cells[inside, 1])
    coords = torch.stack([torch.zeros_like(ids), ids // grid.nx, ids % grid.nx], 1)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(ids), dim, generator=generator)
    return Pillars(features.to(device), coords.to(device), 1)
