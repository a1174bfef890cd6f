"""The 3-D backbone: blocks of mixers over the pillars in alternating token orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from padre3d.backbone.encoder import Block, EncoderLayer, PositionEmbedding
from padre3d.checks import check_shape, renamed_arguments
from padre3d.mixers import build_mixer
from padre3d.sequences import TokenPlanner, WindowPartition
from padre3d.sequences.orders import WINDOW_ORDERS
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars
from padre3d.structures.tokens import TokenPlan

LAYERS_PER_BLOCK = 2
OLD_NAMES = {"tokens": "layout", "reference": "dsvt_compat"}


class VoxelBackbone(nn.Module):
    """Pillars to pillars, by token mixing in windows' order.

    Block b uses shift ``b % len(shifts)``; the layers take the orders in turn. The features stay
    with their pillars and visit an order only inside a mixer.

    Args:
        grid: the pillar grid, or a config's dict of it.
        dim: channels D of the pillars, before and after.
        num_blocks: blocks of two encoder layers.
        ffn_dim: hidden channels of the feed-forward networks.
        mixer: config of the mixer, see :func:`padre3d.mixers.build_mixer`.
        window: ``(x, y)`` window in cells.
        shifts: ``(x, y)`` shifts of the windows in cells.
        set_size: slots per set in set form.
        layout: "sequence" or "set"; None leaves it to the mixer.
        orders: token orders, see :data:`padre3d.sequences.ORDERS`.
        pos_embed: "per_layer", or None for no position embedding.
        dsvt_compat: repeat a flaw of the DSVT code that its published weights were trained with:
            the position embedding of the i-th layer of every block reads the coordinates of
            shift i, not those of the block's shift.
        local_descriptor: None or "submconv", a sub-manifold convolution before the first block.
        with_cp: recompute the blocks in the backward pass to save memory.
        dropout: dropout probability in the encoder layers.
        **old_names: ``tokens`` and ``reference``, the former names of layout and dsvt_compat.

    Raises:
        ValueError: on an unknown mixer, order, layout, position embedding or local descriptor.
    """

    def __init__(
        self,
        grid: PillarGrid | Mapping[str, Any],
        dim: int = 128,
        num_blocks: int = 4,
        ffn_dim: int = 256,
        mixer: Mapping[str, Any] | None = None,
        window: Sequence[int] = (30, 30),
        shifts: Sequence[Sequence[int]] = ((0, 0), (15, 15)),
        set_size: int = 90,
        layout: str | None = None,
        orders: Sequence[str] = WINDOW_ORDERS,
        pos_embed: str | None = "per_layer",
        dsvt_compat: bool = False,
        local_descriptor: str | None = None,
        with_cp: bool = False,
        dropout: float = 0.0,
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
        config = dict(mixer or {"type": "padre", "degree": 2, "preset": "sequence"})
        mixers = [build_mixer(config, dim) for _ in range(num_blocks * LAYERS_PER_BLOCK)]
        layout = layout or mixers[0].layout
        use_mask = not (layout == "set" and mixers[0].repeats_are_tokens)
        layers = [EncoderLayer(dim, ffn_dim, m, use_mask, dropout) for m in mixers]
        self.blocks = nn.ModuleList(
            Block(layers[i : i + LAYERS_PER_BLOCK], dim)
            for i in range(0, len(layers), LAYERS_PER_BLOCK)
        )
        ny, nx = self.grid.ny, self.grid.nx
        parts = [WindowPartition(ny, nx, tuple(window), tuple(shift)) for shift in shifts]
        of_layer = [
            (orders[i % len(orders)], i // LAYERS_PER_BLOCK % len(parts))
            for i in range(len(layers))
        ]
        self.planner = TokenPlanner(parts, of_layer, layout, set_size)
        self.position_shift = [
            i % LAYERS_PER_BLOCK % len(parts) if dsvt_compat else shift
            for i, (_, shift) in enumerate(of_layer)
        ]
        self.position_embeddings = nn.ModuleList()
        if pos_embed:
            xy = parts[0].centred_xy()
            self.position_embeddings.extend(
                nn.ModuleList(PositionEmbedding(dim, xy) for _ in block.layers)
                for block in self.blocks
            )
        self.local_descriptor = _build_local_descriptor(local_descriptor, dim)

    def forward(self, pillars: Pillars) -> Pillars:
        """Pillars with features (N, dim) -> the same pillars with new features (N, dim)."""
        check_shape(pillars.features, f"N {self.dim}", name="VoxelBackbone pillars.features")
        if len(pillars.features) == 0:
            anchor = sum(p.sum() for p in self.parameters()) * 0.0
            return pillars.replace(pillars.features + anchor)
        features = pillars.features
        if self.local_descriptor is not None:
            features = self.local_descriptor(pillars, self.grid.ny, self.grid.nx)
        return pillars.replace(self.run(features, self.plan(pillars)))

    def plan(self, pillars: Pillars) -> TokenPlan:
        """The index work: no weights, nothing to differentiate."""
        return self.planner(pillars.coords, pillars.batch_size)

    def run(self, features: Tensor, plan: TokenPlan) -> Tensor:
        """The dense work on features (N, dim) of at least one pillar: products and gathers."""
        layer = 0
        for b, block in enumerate(self.blocks):
            numbers = range(layer, layer + len(block.layers))
            layer += len(block.layers)
            layouts = [plan.layouts[self.planner.layer_to_layout[i]] for i in numbers]
            positions = []
            # Outside the checkpoint, so that recomputing does not count a batch twice in the
            # running statistics.
            if self.position_embeddings:
                for i, embed in zip(numbers, self.position_embeddings[b], strict=True):
                    positions.append(embed(plan.window_index[self.position_shift[i]]))
            if self.with_cp and torch.is_grad_enabled():
                features = checkpoint(block, features, layouts, *positions, use_reentrant=False)
            else:
                features = block(features, layouts, *positions)
        return features


def _build_local_descriptor(kind: str | None, dim: int) -> nn.Module | None:
    if kind is None:
        return None
    if kind != "submconv":
        raise ValueError(f"local_descriptor: expected None or 'submconv', got {kind!r}")
    from padre3d.backbone.submanifold import SubmanifoldDescriptor

    return SubmanifoldDescriptor(dim)
