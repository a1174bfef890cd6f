"""Clouds as other people's files hold them, written by the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def road(count: int = 4000, seed: int = 0, height_m: float = 1.84) -> np.ndarray:
    """(P, 3) float64 in nuScenes axes: a road along y, walls beside it, the sensor amid."""
    rng = np.random.default_rng(seed)
    ground = count * 3 // 4
    azimuth = rng.uniform(0, 2 * np.pi, ground)
    radius = rng.uniform(3, 25, ground) * (1 + 0.8 * np.abs(np.sin(azimuth)))
    floor = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], 1)
    floor = np.column_stack([floor, rng.normal(-height_m, 0.02, ground)])
    wall = np.column_stack(
        [
            rng.choice([-12.0, 12.0], count - ground),
            rng.uniform(-45, 45, count - ground),
            rng.uniform(-height_m, 3 - height_m, count - ground),
        ]
    )
    return np.concatenate([floor, wall])


def forward_x(xyz: np.ndarray) -> np.ndarray:
    """nuScenes axes to x forward, y left."""
    return np.column_stack([xyz[:, 1], -xyz[:, 0], xyz[:, 2]])


def write_pcd(path: Path, fields: dict[str, np.ndarray]) -> Path:
    """A binary .pcd with these fields."""
    table = np.zeros(len(next(iter(fields.values()))), [(n, v.dtype) for n, v in fields.items()])
    for name, values in fields.items():
        table[name] = values
    kinds = {"f": "F", "i": "I", "u": "U"}
    lines = [
        "VERSION 0.7",
        f"FIELDS {' '.join(fields)}",
        f"SIZE {' '.join(str(v.dtype.itemsize) for v in fields.values())}",
        f"TYPE {' '.join(kinds[v.dtype.kind] for v in fields.values())}",
        f"COUNT {' '.join('1' for _ in fields)}",
        f"WIDTH {len(table)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(table)}",
        "DATA binary",
        "",
    ]
    path.write_bytes("\n".join(lines).encode() + table.tobytes())
    return path


def write_bin(path: Path, *columns: np.ndarray, dtype: str = "<f4") -> Path:
    """A raw table of these columns."""
    np.column_stack(columns).astype(dtype).tofile(path)
    return path
