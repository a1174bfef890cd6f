"""The network as a graph of tensors: pillars and their index tables in, raw head outputs out.

The cut: voxelisation, the maximum over a pillar's points and the index work before it, box decoding
and suppression after it. What is between are the trained modules themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.bev.scatter import cell_to_pillar_map, gather_to_map
from padre3d.head.outputs import HeadOutputs
from padre3d.mixers.padre import PADRe
from padre3d.mixers.set_attention import SetAttention
from padre3d.runtime.token_layouts import most_sets
from padre3d.structures.grid_index import GridIndex, cell_ids
from padre3d.structures.pillars import Pillars
from padre3d.structures.tokens import TokenLayout, TokenPlan, TokenPositions

FEATURES, INDEX, SLOT, WINDOW_INDEX = "features", "index", "slot", "window_index"
CELL_TO_PILLAR, VALID, BACKBONE_FEATURES = "cell_to_pillar", "valid", "backbone_features"
CELLS = "cells"


class DetectorGraph(nn.Module):
    """Backbone, BEV backbone and head of a detector, for one sample.

    The modules are copies, so that what export needs (attention spelled out, constants computed)
    stays in here.

    Args:
        detector: a :class:`padre3d.detector.PADReDetector` or anything with its ``grid``,
            ``backbone``, ``bev_backbone`` and ``head``.

    Raises:
        ValueError: if the backbone has a local descriptor, which is no portable operator.
    """

    outputs: tuple[str, ...] = HeadOutputs._fields

    backbone: Any
    bev_backbone: Any
    head: Any

    def __init__(self, detector: Any) -> None:
        super().__init__()
        if detector.backbone.local_descriptor is not None:
            raise ValueError(
                "export: expected a backbone with local_descriptor=None, got a sub-manifold "
                "convolution, which ONNX does not have"
            )
        parts = (detector.backbone, detector.bev_backbone, detector.head)
        self.backbone, self.bev_backbone, self.head = map(copy.deepcopy, parts)
        for module in self.modules():
            if isinstance(module, SetAttention):
                module.impl = "explicit"
            if isinstance(module, PADRe):
                module.grid_impl = "map"
        self.requires_grad_(False).eval()
        _compute_position_tables(self)

    def forward(
        self,
        features: Tensor,
        index: Tensor | None = None,
        slot: Tensor | None = None,
        window_index: Tensor | None = None,
        cell_to_pillar: Tensor | None = None,
        valid: Tensor | None = None,
        cells: Tensor | None = None,
    ) -> HeadOutputs:
        """Raw head outputs of one sample (B = 1).

        Which of the inputs there are says :func:`input_names`.

        Args:
            features: (N, C) of the pillar encoder.
            index: (K, G, L) pillar row of each token slot, for each distinct token layout.
            slot: (K, N) position ``g * L + l`` of each pillar's token.
            window_index: (S, N) index of each pillar in its window, for each shift.
            cell_to_pillar: (1, ny, nx) 1 + the row of the cell's pillar, 0 without one.
            valid: (K, G, L) which slots are tokens; None: all are.
            cells: (N,) cell id ``y * nx + x`` of each pillar.
        """
        assert cell_to_pillar is not None
        backbone_features = self.mix(
            features, index, slot, window_index, valid, cells, cell_to_pillar
        )
        return self.dense(backbone_features, cell_to_pillar)

    def mix(
        self,
        features: Tensor,
        index: Tensor | None,
        slot: Tensor | None,
        window_index: Tensor | None,
        valid: Tensor | None = None,
        cells: Tensor | None = None,
        cell_to_pillar: Tensor | None = None,
    ) -> Tensor:
        """The backbone: pillar features (N, C) to (N, C)."""
        layouts: tuple[TokenLayout, ...] = ()
        if index is not None and slot is not None:
            masks = [None] * len(index) if valid is None else list(valid)
            layouts = tuple(map(TokenLayout, index, masks, slot))
        grid = None
        if cells is not None and cell_to_pillar is not None:
            grid = GridIndex(cells, cell_to_pillar)
        windows = () if window_index is None else tuple(window_index)
        return self.backbone.run(features, TokenPlan(layouts, windows, grid))

    def dense(self, features: Tensor, cell_to_pillar: Tensor) -> HeadOutputs:
        """The map's part: backbone features (N, C) to raw head outputs."""
        return self.head(self.bev_backbone(gather_to_map(features, cell_to_pillar)))


class BackbonePart(nn.Module):
    """The backbone of a graph as a graph of its own; arguments as :meth:`DetectorGraph.mix`."""

    outputs = (BACKBONE_FEATURES,)

    def __init__(self, graph: DetectorGraph) -> None:
        super().__init__()
        self.whole = graph

    def forward(
        self,
        features: Tensor,
        index: Tensor | None = None,
        slot: Tensor | None = None,
        window_index: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Pillar features (N, C) to (N, C)."""
        return self.whole.mix(features, index, slot, window_index, valid)


class GridBackbonePart(BackbonePart):
    """The same of a backbone with layers on the grid, which need the map."""

    def forward(  # type: ignore[override]
        self,
        features: Tensor,
        index: Tensor | None = None,
        slot: Tensor | None = None,
        window_index: Tensor | None = None,
        cell_to_pillar: Tensor | None = None,
        valid: Tensor | None = None,
        cells: Tensor | None = None,
    ) -> Tensor:
        """Pillar features (N, C) to (N, C)."""
        return self.whole.mix(features, index, slot, window_index, valid, cells, cell_to_pillar)


class DensePart(nn.Module):
    """BEV backbone and head of a graph as a graph of its own."""

    outputs = HeadOutputs._fields

    def __init__(self, graph: DetectorGraph) -> None:
        super().__init__()
        self.whole = graph

    def forward(self, backbone_features: Tensor, cell_to_pillar: Tensor) -> HeadOutputs:
        """Backbone features (N, C) and the map from cells to pillars to raw head outputs."""
        return self.whole.dense(backbone_features, cell_to_pillar)


PARTS = {"whole": (), "backbone,dense": ("backbone", "dense")}


def split_graph(graph: DetectorGraph, parts: str) -> dict[str, nn.Module]:
    """The graphs to export, by the stem of their file.

    Args:
        graph: the whole.
        parts: "whole" or "backbone,dense".

    Raises:
        ValueError: on other parts.
    """
    if parts not in PARTS:
        raise ValueError(f"parts: expected one of {', '.join(PARTS)}, got {parts!r}")
    if parts == "whole":
        return {"model": graph}
    has_grid = graph.backbone.planner.has_grid
    backbone = GridBackbonePart(graph) if has_grid else BackbonePart(graph)
    return {"backbone": backbone, "dense": DensePart(graph)}


def input_names(graph: DetectorGraph, masked: bool) -> list[str]:
    """Names of the inputs that the graph reads.

    Orders only if some layer has one, ``cells`` only if some layer is on the grid, windows only for
    position embeddings, and ``valid`` only where some slot may be no token of its own.
    """
    backbone = graph.backbone
    planner = backbone.planner
    layers = [layer for block in backbone.blocks for layer in block.layers]
    uses_mask = any(
        layer.use_mask
        for layer, order in zip(layers, planner.layer_to_layout, strict=True)
        if order is not None
    )
    read = {
        INDEX: bool(planner.keys),
        SLOT: bool(planner.keys),
        WINDOW_INDEX: len(backbone.position_embeddings) > 0,
        VALID: uses_mask and (planner.layout == "set" or masked),
        CELLS: planner.has_grid,
    }
    names = (FEATURES, INDEX, SLOT, WINDOW_INDEX, CELL_TO_PILLAR, VALID, CELLS)
    return [name for name in names if read.get(name, True)]


@torch.no_grad()
def frame_inputs(
    graph: DetectorGraph, pillars: Pillars, size: int | None = None, masked: bool | None = None
) -> dict[str, Tensor]:
    """Inputs of the graph for the pillars of one sample, by name.

    Args:
        graph: the graph.
        pillars: of the pillar encoder, one sample, at least one pillar.
        size: fixed number of pillars N; the rest is padding that influences nothing.
        masked: whether padding is possible; None: with a fixed number it is.

    Raises:
        ValueError: without a pillar, for a batch, or for more pillars than ``size``.
    """
    count = len(pillars.coords)
    if pillars.batch_size != 1 or not 0 < count <= (size or count):
        raise ValueError(
            f"graph inputs: expected one sample of 1 to {size or 'any number of'} pillars, "
            f"got {pillars.batch_size} samples and {count} pillars"
        )
    backbone = graph.backbone
    plan = backbone.plan(pillars)
    padding = (size or count) - count
    ny, nx = backbone.grid.ny, backbone.grid.nx
    inputs = {
        FEATURES: F.pad(pillars.features, (0, 0, 0, padding)),
        WINDOW_INDEX: F.pad(torch.stack(plan.window_index), (0, padding)),
        CELL_TO_PILLAR: cell_to_pillar_map(pillars.coords, 1, ny, nx),
        # Padding reads cell 0; nothing reads what it gets.
        CELLS: F.pad(cell_ids(pillars.coords, ny, nx), (0, padding)),
    }
    if plan.layouts:
        tokens, sets = backbone.planner.layout, set_bound(graph, size)
        inputs[INDEX], inputs[VALID] = pad_layouts(plan.layouts, tokens, padding, sets)
        slots = torch.stack([layout.slot for layout in plan.layouts])
        inputs[SLOT] = F.pad(slots, (0, padding))
    names = input_names(graph, size is not None if masked is None else masked)
    # 32 bits: enough to count pillars, and what TensorRT and NPUs compute with.
    return {n: inputs[n].int() if inputs[n].dtype == torch.int64 else inputs[n] for n in names}


def set_bound(graph: DetectorGraph, size: int | None) -> int | None:
    """Number of sets of a graph with a fixed number of pillars, None without sets."""
    planner = graph.backbone.planner
    if size is None or planner.layout != "set":
        return None
    windows = max(partition.num_windows for partition in planner.partitions)
    return most_sets(size, planner.sets[0].set_size, windows)


def pad_layouts(
    layouts: Sequence[TokenLayout], tokens: str, padding: int, sets: int | None = None
) -> tuple[Tensor, Tensor]:
    """Index and validity of all layouts as two tensors (K, G, L).

    Sequences grow by ``padding`` slots at their end. Shifts may differ in their number of sets:
    all get ``sets``, or as many as the largest, and the surplus sets hold no token.
    """
    valid = [
        torch.ones_like(lay.index, dtype=torch.bool) if lay.valid is None else lay.valid
        for lay in layouts
    ]
    most = max(len(layout.index) for layout in layouts) if sets is None else sets
    width = padding if tokens == "sequence" else 0

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, width, 0, most - len(x)))

    return torch.stack([padded(lay.index) for lay in layouts]), torch.stack([*map(padded, valid)])


class _GatheredPositions(TokenPositions):
    """The look-up as plain gathers, which take 32-bit indices."""

    def of(self, index: Tensor) -> Tensor:
        assert self.window_index is not None
        rows = self.window_index.index_select(0, index.flatten())
        return self.table.index_select(0, rows).unflatten(0, index.shape)

    def of_all(self) -> Tensor:
        assert self.window_index is not None
        return self.table.index_select(0, self.window_index)


class _WindowTable(nn.Module):
    """Position embeddings of a window's cells, already computed: (P, D)."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, window_index: Tensor) -> TokenPositions:
        return _GatheredPositions(self.table, window_index)


class _CellTable(nn.Module):
    """Position embeddings of all cells of the head's map, already computed: (cells, C)."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, *_: object) -> Tensor:
        return self.table


@torch.no_grad()
def _compute_position_tables(graph: DetectorGraph) -> None:
    """Replace networks that only see constant positions by their results."""
    for block in graph.backbone.position_embeddings:
        for i, embedding in enumerate(block):
            block[i] = _WindowTable(embedding._embed(embedding.xy))
    decoder = graph.head.decoder
    decoder.key_position = _CellTable(decoder.key_position(decoder.positions))
