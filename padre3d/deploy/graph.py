"""The network as a graph of tensors: pillars and their index tables in, raw head outputs out.

The cut: voxelisation, the maximum over a pillar's points and the index work before it, box decoding
and suppression after it. What is between are the trained modules themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padre3d.bev.scatter import inverse_map, map_from_inverse
from padre3d.head.outputs import HeadOutputs
from padre3d.mixers.set_attention import SetAttention
from padre3d.sequences import TokenPlan
from padre3d.types import Pillars, TokenLayout

FEATURES, INDEX, SLOT, PLACES, INVERSE, VALID = (
    "features",
    "index",
    "slot",
    "places",
    "inverse",
    "valid",
)


class DetectorGraph(nn.Module):
    """Backbone, BEV backbone and head of a detector, for one sample.

    The modules are copies, so that what export needs (attention spelled out) stays in here.

    Args:
        detector: a :class:`padre3d.detector.PADReDetector` or anything with its ``grid``,
            ``backbone``, ``bev_backbone`` and ``head``.

    Raises:
        ValueError: if the backbone has a local descriptor, which is no portable operator.
    """

    def __init__(self, detector: nn.Module) -> None:
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
        self.requires_grad_(False).eval()

    def forward(
        self,
        features: Tensor,
        index: Tensor,
        slot: Tensor,
        places: Tensor,
        inverse: Tensor,
        valid: Tensor | None = None,
    ) -> HeadOutputs:
        """Raw head outputs of one sample (B = 1).

        Args:
            features: (N, C) of the pillar encoder.
            index: (K, G, L) pillar row of each token slot, for each distinct token layout.
            slot: (K, N) position ``g * L + l`` of each pillar's token.
            places: (S, N) place of each pillar in its window, for each shift.
            inverse: (1, ny, nx) 1 + the row of the cell's pillar, 0 without one.
            valid: (K, G, L) which slots are tokens; None: all are.
        """
        masks = [None] * len(index) if valid is None else list(valid)
        layouts = tuple(map(TokenLayout, index, masks, slot))
        features = self.backbone.run(features, TokenPlan(layouts, tuple(places)))
        return self.head(self.bev_backbone(map_from_inverse(features, inverse)))


def input_names(graph: DetectorGraph, fixed: bool) -> list[str]:
    """Names of the inputs; ``valid`` only where some slot may be no token of its own."""
    names = [FEATURES, INDEX, SLOT, PLACES, INVERSE]
    sets = graph.backbone.planner.tokens == "set"
    uses_mask = graph.backbone.blocks[0].layers[0].use_mask
    return [*names, VALID] if uses_mask and (sets or fixed) else names


@torch.no_grad()
def frame_inputs(graph: DetectorGraph, pillars: Pillars, size: int | None = None) -> dict:
    """Inputs of the graph for the pillars of one sample, by name.

    Args:
        graph: the graph.
        pillars: of the pillar encoder, one sample, at least one pillar.
        size: fixed number of pillars N; the rest is padding that influences nothing.

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
    index, valid = pad_layouts(plan.layouts, backbone.planner.tokens, (size or count) - count)
    rest = (0, (size or count) - count)
    inputs = {
        FEATURES: F.pad(pillars.features, (0, 0, *rest)),
        INDEX: index,
        SLOT: F.pad(torch.stack([layout.slot for layout in plan.layouts]), rest),
        PLACES: F.pad(torch.stack(plan.places), rest),
        INVERSE: inverse_map(pillars.coords, 1, backbone.grid.ny, backbone.grid.nx),
        VALID: valid,
    }
    return {name: inputs[name] for name in input_names(graph, size is not None)}


def pad_layouts(layouts: Sequence[TokenLayout], tokens: str, padding: int) -> tuple[Tensor, Tensor]:
    """Index and validity of all layouts as two tensors (K, G, L).

    Sequences grow by ``padding`` slots at their end. Shifts may differ in their number of sets:
    all get as many as the largest, and the surplus sets hold no token.
    """
    valid = [
        torch.ones_like(lay.index, dtype=torch.bool) if lay.valid is None else lay.valid
        for lay in layouts
    ]
    most = max(len(layout.index) for layout in layouts)
    width = padding if tokens == "sequence" else 0

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, width, 0, most - len(x)))

    return torch.stack([padded(lay.index) for lay in layouts]), torch.stack([*map(padded, valid)])
