"""DSVT's backbone in the form in which it was published, on the weights of ours.

The same numbers as a :class:`padre3d.backbone.VoxelBackbone` with set attention, computed the way
the public code computes them:

| step | published | ours |
|---|---|---|
| order within windows | unique windows, two sorts per shift | prefix sums over the grid |
| position embedding | the network on every pillar, for each layer | once per cell of a window |
| attention | ``nn.MultiheadAttention`` with its default averaged weights | fused, in blocks |
| back from sets | ``unique`` over all slots in every layer | one gather |
| rows | passes over all of them | blocks that stay in the cache |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.backbone import VoxelBackbone
from padre3d.backbone.encoder import Block, EncoderLayer, PositionEmbedding
from padre3d.sequences.windows import WindowPartition
from padre3d.structures.pillars import Pillars


@dataclass(frozen=True)
class SortedSets:
    """Sets of one shift: index and mask of the y-major and the x-major sets; window indices."""

    index: tuple[Tensor, Tensor]
    repeats: tuple[Tensor, Tensor]
    window_index: Tensor


class PublishedBackbone(nn.Module):
    """The attention baseline; shares all weights with the given backbone.

    Args:
        backbone: with set attention.
        sdpa: only the attention itself is replaced, by the fused one.

    Raises:
        ValueError: for a backbone without set attention over the two window orders.
    """

    def __init__(self, backbone: VoxelBackbone, sdpa: bool = False) -> None:
        super().__init__()
        if backbone.planner.layout != "set" or not backbone.position_embeddings:
            raise ValueError("PublishedBackbone: expected set attention with position embeddings")
        self.backbone, self.sdpa = backbone, sdpa
        self.set_size = backbone.planner.sets[0].set_size

    def forward(self, pillars: Pillars) -> Tensor:
        """Pillars with features (N, D) -> features (N, D)."""
        return self.run(pillars.features, self.plan(pillars))

    def plan(self, pillars: Pillars) -> list[SortedSets]:
        """Sets of every shift, by sorting."""
        partitions = self.backbone.planner.partitions
        return [sorted_sets(pillars.coords, p, self.set_size) for p in partitions]

    def run(self, x: Tensor, plan: list[SortedSets]) -> Tensor:
        """The layers; the embeddings of all layers come first, as in the published input layer."""
        ours, layer_number = self.backbone, 0
        embeddings = [
            [
                _embed(net, plan[ours.position_shift[2 * b + i]].window_index)
                for i, net in enumerate(nets)
            ]
            for b, nets in enumerate(ours.position_embeddings)
        ]
        for block, positions in zip(ours.blocks, embeddings, strict=True):
            assert isinstance(block, Block)
            out = x
            for layer, position in zip(block.layers, positions, strict=True):
                order, shift = ours.planner.keys[ours.planner.layer_to_layout[layer_number]]
                major = int(order == "window_x_major")
                sets = plan[shift]
                out = _layer(
                    layer, out, position, sets.index[major], sets.repeats[major], self.sdpa
                )
                layer_number += 1
            x = block.norm(x + out)
        return x


def sorted_sets(coords: Tensor, partition: WindowPartition, set_size: int) -> SortedSets:
    """Sets of one window partition from coordinates (N, 3) ``[batch, y, x]``."""
    yx = coords[:, 1:]
    window = coords[:, 0] * partition.num_windows + partition.window_of(yx)
    _, window, counts = torch.unique(window, return_inverse=True, return_counts=True)
    sets = torch.div(counts + set_size - 1, set_size, rounding_mode="floor")
    owner = torch.repeat_interleave(sets)
    first_set = sets.cumsum(0) - sets
    slot = torch.arange(set_size, device=coords.device)
    slot = slot + (torch.arange(len(owner), device=coords.device) - first_set[owner])[:, None] * (
        set_size
    )
    total = sets[owner, None] * set_size
    rank = torch.div(slot * counts[owner, None], total, rounding_mode="floor")
    rank = rank + (counts.cumsum(0) - counts)[owner, None]
    cells = max(partition.ny, partition.nx)
    indices, masks = [], []
    for major, minor in ((0, 1), (1, 0)):
        order = ((window * cells + yx[:, major]) * cells + yx[:, minor]).argsort()
        index = order[rank]
        mask = torch.zeros_like(index, dtype=torch.bool)
        mask[:, 1:] = index[:, 1:] == index[:, :-1]
        indices.append(index)
        masks.append(mask)
    window_index = partition.window_index_of(yx)
    return SortedSets(tuple(indices), tuple(masks), window_index)


def _embed(network: PositionEmbedding, window_index: Tensor) -> Tensor:
    hidden = network.linear1(network.xy[window_index])
    norm = network.norm
    hidden = F.batch_norm(
        hidden,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        norm.momentum,
        norm.eps,
    )
    return network.linear2(F.relu(hidden))


def _layer(
    layer: EncoderLayer, x: Tensor, pos: Tensor, index: Tensor, repeats: Tensor, sdpa: bool
) -> Tensor:
    tokens = x[index]
    if sdpa:
        attended = layer.mixer(tokens, pos[index], ~repeats)
    else:
        query = tokens + pos[index]
        attended = layer.mixer.self_attn(query, query, tokens, key_padding_mask=repeats)[0]
    slots = index.flatten()
    _, inverse = torch.unique(slots, return_inverse=True)
    first = torch.arange(len(slots), device=x.device).flip(0)
    first = inverse.new_empty(len(x)).scatter_(0, inverse.flip(0), first)
    return layer.after_mixer(x, attended.flatten(0, 1)[first])
