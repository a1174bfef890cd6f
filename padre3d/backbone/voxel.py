"""The 3-D backbone: blocks of mixers over the pillars in alternating token orders."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from padre3d.backbone.encoder import Block, EncoderLayer, PositionEmbedding
from padre3d.backbone.submanifold import SubmanifoldDescriptor
from padre3d.checks import check_shape, renamed_arguments
from padre3d.mixers import build_mixer
from padre3d.mixers.mixer import Mixer
from padre3d.sequences import TokenPlanner, WindowPartition
from padre3d.sequences.orders import WINDOW_ORDERS
from padre3d.structures.grid import PillarGrid
from padre3d.structures.grid_index import GridIndex
from padre3d.structures.pillars import Pillars
from padre3d.structures.tokens import TokenLayout, TokenPlan, TokenPositions

LAYERS_PER_BLOCK = 2
OLD_NAMES = {"tokens": "layout", "reference": "dsvt_compat"}


class VoxelBackbone(nn.Module):
    """Pillars to pillars, by token mixing in windows' order.

    Block b uses shift ``b % len(shifts)``; the layers take the orders in turn. The features stay
    with their pillars and visit an order only inside a mixer. A layer whose mixer has the layout
    "grid" needs no order: its tokens are the pillars where they lie.

    Args:
        grid: the pillar grid, or a config's dict of it.
        dim: channels D of the pillars, before and after.
        num_blocks: blocks of two encoder layers.
        ffn_dim: hidden channels of the feed-forward networks.
        mixer: config of every layer's mixer, see :func:`padre3d.mixers.build_mixer`.
        mixers: configs of the layers' mixers in place of ``mixer``, one per layer, or fewer that
            are taken in turn.
        window: ``(x, y)`` window in cells, or one for each shift (DSVT's ``hybrid_factor``).
        shifts: ``(x, y)`` shifts of the windows in cells.
        set_size: slots per set in set form.
        layout: "sequence" or "set" for the layers that are not on the grid; None leaves it to
            their mixers, which must agree.
        orders: token orders, see :data:`padre3d.sequences.ORDERS`.
        pos_embed: "per_layer", or None for no position embedding.
        dsvt_compat: repeat a flaw of the DSVT code that its published weights were trained with:
            the position embedding of the i-th layer of every block reads the coordinates of
            shift i, not those of the block's shift.
        local_descriptor: None, "submconv", a sub-manifold convolution before the first block, or
            "submconv_each", one before every block.
        parallel: the two layers of a block stand side by side, each on the block's input, and their
            outputs are averaged: both orders within one step of depth.
        with_cp: recompute the blocks in the backward pass to save memory.
        dropout: dropout probability in the encoder layers.
        activation: of the feed-forward networks, "gelu" or "relu".
        normalise_positions: the position embeddings read coordinates of -pi to pi across a window
            instead of cells.
        **old_names: ``tokens`` and ``reference``, the former names of layout and dsvt_compat.

    Raises:
        ValueError: on an unknown mixer, order, layout, position embedding or local descriptor, or
            mixers of layouts that do not fit together.
    """

    blocks: Any
    position_embeddings: Any

    def __init__(
        self,
        grid: PillarGrid | Mapping[str, Any],
        dim: int = 128,
        num_blocks: int = 4,
        ffn_dim: int = 256,
        mixer: Mapping[str, Any] | None = None,
        window: Sequence[int] | Sequence[Sequence[int]] = (30, 30),
        shifts: Sequence[Sequence[int]] = ((0, 0), (15, 15)),
        set_size: int = 90,
        layout: str | None = None,
        orders: Sequence[str] = WINDOW_ORDERS,
        pos_embed: str | None = "per_layer",
        dsvt_compat: bool = False,
        local_descriptor: str | None = None,
        with_cp: bool = False,
        dropout: float = 0.0,
        mixers: Sequence[Mapping[str, Any]] | None = None,
        activation: str = "gelu",
        normalise_positions: bool = False,
        parallel: bool = False,
        **old_names: Any,
    ) -> None:
        super().__init__()
        renamed = renamed_arguments(old_names, OLD_NAMES)
        layout = renamed.get("layout", layout)
        dsvt_compat = renamed.get("dsvt_compat", dsvt_compat)
        if pos_embed not in ("per_layer", None):
            raise ValueError(f"pos_embed: expected 'per_layer' or None, got {pos_embed!r}")
        self.grid = PillarGrid.of(grid)
        self.dim, self.with_cp = dim, with_cp
        made = _build_mixers(mixer, mixers, num_blocks * LAYERS_PER_BLOCK, dim)
        layout = _common_layout(made, layout)
        layers = [
            EncoderLayer(
                dim,
                ffn_dim,
                m,
                not (layout == "set" and m.repeats_are_tokens),
                dropout,
                activation,
            )
            for m in made
        ]
        self.blocks = nn.ModuleList(
            Block(layers[i : i + LAYERS_PER_BLOCK], dim, parallel)
            for i in range(0, len(layers), LAYERS_PER_BLOCK)
        )
        parts = _partitions(self.grid, window, shifts)
        shift_of = [i // LAYERS_PER_BLOCK % len(parts) for i in range(len(layers))]
        next_order = itertools.cycle(orders)
        of_layer = [
            None if m.layout == "grid" else (next(next_order), shift)
            for m, shift in zip(made, shift_of, strict=True)
        ]
        self.planner = TokenPlanner(parts, of_layer, layout, set_size)
        self.position_shift = [
            i % LAYERS_PER_BLOCK % len(parts) if dsvt_compat else shift
            for i, shift in enumerate(shift_of)
        ]
        self.position_embeddings = nn.ModuleList()
        if pos_embed:
            xy = [part.centred_xy(normalise_positions) for part in parts]
            embeddings = [PositionEmbedding(dim, xy[shift]) for shift in self.position_shift]
            self.position_embeddings.extend(
                nn.ModuleList(embeddings[i : i + LAYERS_PER_BLOCK])
                for i in range(0, len(embeddings), LAYERS_PER_BLOCK)
            )
        self.local_descriptor = _build_local_descriptor(local_descriptor, dim)
        repeats = num_blocks - 1 if local_descriptor == "submconv_each" else 0
        self.block_descriptors = nn.ModuleList(SubmanifoldDescriptor(dim) for _ in range(repeats))

    def forward(self, pillars: Pillars) -> Pillars:
        """Pillars with features (N, dim) -> the same pillars with new features (N, dim)."""
        check_shape(pillars.features, f"N {self.dim}", name="VoxelBackbone pillars.features")
        if len(pillars.features) == 0:
            return pillars.replace(pillars.features + self._anchor(pillars.features))
        plan = self.plan(pillars)
        if not self.block_descriptors:
            return pillars.replace(self.run(self.describe(pillars), plan))
        for b in range(len(self.blocks)):
            described = self.describe(pillars, b)
            pillars = pillars.replace(self.run_block(b, described, plan))
        return pillars

    def _anchor(self, features: Tensor) -> Tensor:
        """Zero (), with a gradient of zero for every weight.

        In training every normalisation is run, in the usual order, on no rows: a synchronised one
        of a process with pillars waits for those of all others.
        """
        anchor: Any = sum(p.sum() for p in self.parameters()) * 0.0
        if not self.training:
            return anchor
        nothing = torch.zeros(0, dtype=torch.long, device=features.device)
        descriptors = [self.local_descriptor, *self.block_descriptors]
        for b in range(len(self.blocks)):
            if b < len(descriptors) and descriptors[b] is not None:
                anchor = anchor + descriptors[b].norm(features).sum() * 0.0
            if self.position_embeddings:
                for embed in self.position_embeddings[b]:
                    anchor = anchor + embed(nothing).table.sum() * 0.0
        return anchor

    def describe(self, pillars: Pillars, block: int = 0) -> Tensor:
        """Features (N, dim) that a block gets: the local descriptor's, if there is one there."""
        descriptor = self.local_descriptor
        if block:
            descriptor = self.block_descriptors[block - 1] if self.block_descriptors else None
        if descriptor is None:
            return pillars.features
        return descriptor(pillars, self.grid.ny, self.grid.nx)

    def plan(self, pillars: Pillars) -> TokenPlan:
        """The index work: no weights, nothing to differentiate."""
        return self.planner(pillars.coords, pillars.batch_size)

    def run(self, features: Tensor, plan: TokenPlan) -> Tensor:
        """The dense work on features (N, dim) of at least one pillar: products and gathers.

        Without the descriptors before later blocks, which are no products of rows.
        """
        for b in range(len(self.blocks)):
            features = self.run_block(b, features, plan)
        return features

    def run_block(self, number: int, features: Tensor, plan: TokenPlan) -> Tensor:
        """One block's dense work, (N, dim) -> (N, dim)."""
        block = self.blocks[number]
        # Outside the checkpoint, so that recomputing does not count a batch twice in the
        # running statistics.
        layouts, positions = self.inputs_of_block(number, plan)
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(block, features, layouts, *positions, use_reentrant=False)
        return block(features, layouts, *positions)

    def inputs_of_block(
        self, block: int, plan: TokenPlan
    ) -> tuple[list[TokenLayout | GridIndex], list[TokenPositions]]:
        """Layouts of a block's layers and the pillars' position embeddings for them, or none."""
        first = block * LAYERS_PER_BLOCK
        numbers = range(first, first + LAYERS_PER_BLOCK)
        layouts = [self._layout_of(plan, i) for i in numbers]
        if not self.position_embeddings:
            return layouts, []
        pairs = zip(numbers, self.position_embeddings[block], strict=True)
        return layouts, [embed(plan.window_index[self.position_shift[i]]) for i, embed in pairs]

    def _layout_of(self, plan: TokenPlan, layer: int) -> TokenLayout | GridIndex:
        number = self.planner.layer_to_layout[layer]
        if number is not None:
            return plan.layouts[number]
        if plan.grid is None:
            raise ValueError(f"plan: expected the grid's index for layer {layer}, got none")
        return plan.grid


def _partitions(
    grid: PillarGrid,
    window: Sequence[int] | Sequence[Sequence[int]],
    shifts: Sequence[Sequence[int]],
) -> list[WindowPartition]:
    """One partition for each shift."""
    per_shift = [w for w in window if not isinstance(w, int)]
    windows = per_shift or [[w for w in window if isinstance(w, int)]] * len(shifts)
    if len(windows) != len(shifts):
        raise ValueError(
            f"window: expected (x, y), or one for each of {len(shifts)} shifts, got {window!r}"
        )
    return [
        WindowPartition(grid.ny, grid.nx, (w[0], w[1]), (s[0], s[1]))
        for w, s in zip(windows, shifts, strict=True)
    ]


def _build_mixers(
    mixer: Mapping[str, Any] | None,
    mixers: Sequence[Mapping[str, Any]] | None,
    count: int,
    dim: int,
) -> list[Mixer]:
    """One mixer per layer; the configs are taken in turn."""
    default = {"type": "padre", "degree": 2, "preset": "sequence"}
    configs = [mixer or default] if mixers is None else list(mixers)
    if not 0 < len(configs) <= count:
        raise ValueError(f"mixers: expected 1 to {count} configs, got {len(configs)}")
    return [build_mixer(dict(configs[i % len(configs)]), dim) for i in range(count)]


def _common_layout(mixers: Sequence[Mixer], layout: str | None) -> str:
    """The layout of the layers that have an order; "grid" if none has."""
    own = {mixer.layout for mixer in mixers} - {"grid"}
    if not own:
        if layout not in (None, "grid"):
            raise ValueError(f"layout: expected 'grid' as the mixers have it, got {layout!r}")
        return "grid"
    if layout == "grid" or layout is None and len(own) > 1:
        raise ValueError(
            f"layout: expected mixers of one layout beside 'grid', got {sorted(own)} with "
            f"layout={layout!r}"
        )
    return layout or own.pop()


def _build_local_descriptor(kind: str | None, dim: int) -> nn.Module | None:
    if kind is None:
        return None
    if kind not in ("submconv", "submconv_each"):
        raise ValueError(
            f"local_descriptor: expected None, 'submconv' or 'submconv_each', got {kind!r}"
        )
    return SubmanifoldDescriptor(dim)
