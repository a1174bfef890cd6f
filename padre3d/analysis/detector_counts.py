"""Counts of a configured detector on a point file; needs mmdet3d, unlike the rest here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from padre3d.analysis.model_counts import POSITION_EMBEDDING, count_stages, parameters
from padre3d.analysis.paper_tables import FrameSize
from padre3d.io import drop_invalid, load_points
from padre3d.sequences import WindowPartition, WindowSets
from padre3d.structures.grid import PillarGrid

# The reference model's grid, windows and sets, which Table 4 is about.
GRID = PillarGrid((-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), (0.3, 0.3))
WINDOW, SHIFTS, SET_SIZE = (30, 30), ((0, 0), (15, 15)), 90


def count_detector(config: str | Path, points: Path, dtype: str | None = None) -> dict[str, Any]:
    """Build the detector of a config and count it on a cloud.

    Args:
        config: config file.
        points: point file, see :func:`padre3d.io.load_points`.
        dtype: numbers of a .bin.

    Returns:
        A dictionary of totals and ``stages``, a list of name, parameters and macs.
    """
    from mmengine.registry import init_default_scope

    from padre3d.plugin import MODELS
    from padre3d.training.config import naming_config, read_config

    cfg = read_config(config)
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    with naming_config(config):
        model = MODELS.build(cfg.model).eval()
    cloud = _cloud(points, dtype)
    stages = count_stages(model, lambda: model.forward_points([cloud]))
    position = sum(
        parameters(m) for n, m in model.named_modules() if n.endswith(f".{POSITION_EMBEDDING}")
    )
    total = parameters(model)
    with torch.no_grad():
        pillars = len(model.pillar_encoder([cloud]).coords)
    return {
        "config": str(config),
        "points": len(cloud),
        "pillars": pillars,
        "parameters": total,
        "parameters_without_position_embedding": total - position,
        "macs": sum(stage.macs for stage in stages),
        "stages": [vars(stage) for stage in stages],
    }


def frame_size(points: Path, dtype: str | None = None) -> FrameSize:
    """Occupied pillars and DSVT sets of a cloud, on the reference model's grid."""
    cells, inside = GRID.cells_of(_cloud(points, dtype))
    cells = torch.unique(cells[inside], dim=0)  # ascending in (y, x)
    coords = torch.cat([cells.new_zeros(len(cells), 1), cells], 1)
    sets = []
    for shift in SHIFTS:
        partition = WindowPartition(GRID.ny, GRID.nx, WINDOW, shift)
        layouts = WindowSets(partition, SET_SIZE)(coords, 1)
        sets.append(len(layouts[0].index))
    return FrameSize(len(cells), (sets[0], sets[1]))


def _cloud(points: Path, dtype: str | None) -> torch.Tensor:
    cloud, _ = drop_invalid(load_points(points, dtype=dtype))
    return torch.as_tensor(cloud, dtype=torch.float32)
