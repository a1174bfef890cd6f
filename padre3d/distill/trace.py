"""A backbone run open: what enters each mixer, what it makes of it, the state after each block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from padre3d.backbone import VoxelBackbone
from padre3d.backbone.encoder import EncoderLayer
from padre3d.structures.grid_index import GridIndex
from padre3d.structures.pillars import Pillars
from padre3d.structures.tokens import TokenLayout, TokenPlan, TokenPositions


class Trace(NamedTuple):
    """Features (N, D) of one run, rows in the pillars' order.

    Attributes:
        inputs: what enters each layer.
        mixed: what each layer's mixer makes of it.
        states: what leaves each block.
    """

    inputs: list[Tensor]
    mixed: list[Tensor]
    states: list[Tensor]


class LayerCall(NamedTuple):
    """A layer with the layout and the positions that it has on a frame."""

    layer: EncoderLayer
    layout: TokenLayout | GridIndex
    positions: TokenPositions | None

    def mix(self, x: Tensor) -> Tensor:
        """The layer's mixer on (N, D)."""
        return self.layer.mix(x, self.layout, self.positions)


def layer_calls(backbone: VoxelBackbone, plan: TokenPlan) -> Iterator[list[LayerCall]]:
    """The layers of each block on a frame."""
    for number, block in enumerate(backbone.blocks):
        layouts, positions = backbone.inputs_of_block(number, plan)
        yield [
            LayerCall(layer, layouts[i], positions[i] if positions else None)
            for i, layer in enumerate(block.layers)
        ]


def trace(backbone: VoxelBackbone, pillars: Pillars) -> Trace:
    """Run the backbone, as :meth:`VoxelBackbone.forward` does, and keep what passes by."""
    x = pillars.features
    inputs, mixed, states = [], [], []
    for number, calls in enumerate(layer_calls(backbone, backbone.plan(pillars))):
        x = backbone.describe(pillars.replace(x), number)
        block = backbone.blocks[number]
        outs: list[Tensor] = []
        for call in calls:
            inputs.append(block.input_of_layer(x, outs))
            mixed.append(call.mix(inputs[-1]))
            outs.append(call.layer.after_mixer(inputs[-1], mixed[-1]))
        x = block.close(x, *outs)
        states.append(x)
    return Trace(inputs, mixed, states)


def mix_each(backbone: VoxelBackbone, pillars: Pillars, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What each layer's mixer makes of an input (N, D) that is given to it."""
    calls = [
        call for of_block in layer_calls(backbone, backbone.plan(pillars)) for call in of_block
    ]
    return [call.mix(x) for call, x in zip(calls, inputs, strict=True)]
