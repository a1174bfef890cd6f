"""What a runtime without torch needs beside the graph: encoder weights and constant tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from padre3d.sequences.orders import permutation
from padre3d.sequences.windows import grid_cells

if TYPE_CHECKING:
    from padre3d.detector import PADReDetector


@torch.no_grad()
def runtime_tables(detector: PADReDetector) -> dict[str, np.ndarray]:
    """Arrays by name, read from the trained modules.

    ==================  =======================================================================
    ``weight{i}``       (in, out) float32 of the encoder's layer i, normalisation folded in; the
                        first ``point_channels{i}`` rows are the point's, the rest its pillar's; an
                        encoder that does not read x, y, z has rows of zeros for them
    ``shift{i}``        (out,) float32
    ``cells``           (K, ny * nx) int32: cell ids in each token order; K = 0 if all layers are
                        on the grid
    ``layout_shift``    (K,) int32: the shift of each token order
    ``window_index``    (S, ny * nx) int32: index of each cell in its window, for each shift
    ``windows``         (S, ny * nx) int32: window of each cell (set form)
    ==================  =======================================================================
    """
    tables: dict[str, torch.Tensor] = {}
    tables.update(encoder_tables(detector.pillar_encoder))
    planner = detector.backbone.planner
    yx = grid_cells(detector.grid.ny, detector.grid.nx)
    orders = [permutation(order, planner.partitions[shift]) for order, shift in planner.keys]
    tables["cells"] = torch.stack(orders) if orders else torch.empty(0, len(yx), dtype=torch.long)
    tables["layout_shift"] = torch.tensor([shift for _, shift in planner.keys], dtype=torch.long)
    tables["window_index"] = torch.stack([p.window_index_of(yx) for p in planner.partitions])
    tables["windows"] = torch.stack([p.window_of(yx) for p in planner.partitions])
    arrays = {name: table.numpy() for name, table in tables.items()}
    return {k: v if v.dtype.kind == "f" else v.astype(np.int32) for k, v in arrays.items()}


@torch.no_grad()
def encoder_tables(encoder: Any) -> dict[str, torch.Tensor]:
    """The arrays of the pillar encoder's layers."""
    tables: dict[str, torch.Tensor] = {}
    for i, layer in enumerate(encoder.layers):
        weight, shift = layer.folded()
        rows, own = weight.t(), layer.point_channels
        if i == 0 and not encoder.with_xyz:
            rows, own = torch.cat([rows.new_zeros(3, rows.shape[1]), rows]), own + 3
        tables[f"weight{i}"] = rows.contiguous()
        tables[f"shift{i}"] = shift.detach()
        tables[f"point_channels{i}"] = torch.tensor(own)
    return tables
