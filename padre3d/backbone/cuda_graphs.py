"""Inference of the backbone with CUDA graphs: one graph for every bucket of pillar counts.

The number of pillars changes with every frame, a graph has one size. Frames are padded to a
multiple of ``bucket`` tokens with tokens that are not valid, so a few graphs serve all frames, and
a layer's launches cost what the GPU needs for them, not the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from padre3d.backbone import VoxelBackbone
from padre3d.structures.tokens import TokenLayout, TokenPlan

WARM_UP = 3


class GraphedBackbone:
    """The dense work of a backbone in sequence form (:meth:`VoxelBackbone.run`), from graphs.

    The first call for a bucket captures its graph: run it on typical frames before timing. The
    weights are read where they lie; moving or replacing them needs a new instance. On a CPU there
    is no graph, only the padding.

    Args:
        backbone: in evaluation mode.
        bucket: tokens of a sample are padded to a multiple of it.

    Raises:
        ValueError: if the backbone trains or works on sets.
    """

    def __init__(self, backbone: VoxelBackbone, bucket: int = 2048) -> None:
        planner = backbone.planner
        if backbone.training or planner.layout != "sequence" or planner.has_grid:
            raise ValueError(
                "GraphedBackbone: expected a backbone with tokens='sequence' in every layer and in "
                f"evaluation mode, got tokens={planner.layout!r}, grid layers={planner.has_grid}, "
                f"training={backbone.training}"
            )
        if backbone.block_descriptors:
            raise ValueError(
                "GraphedBackbone: expected no descriptors between blocks, got local_descriptor="
                "'submconv_each'"
            )
        self.backbone, self.bucket = backbone, bucket
        self._graphs: dict[tuple[object, ...], CapturedGraph] = {}

    @torch.no_grad()
    def __call__(self, features: Tensor, plan: TokenPlan) -> Tensor:
        """Features (N, D) of at least one pillar -> (N, D), valid until the bucket's next call."""
        samples, longest = plan.layouts[0].index.shape
        length = -(-longest // self.bucket) * self.bucket
        padded = pad_features(features, samples * length), pad_plan(plan, length)
        key = (samples, length, features.dtype, features.device, autocast_type(features))
        tensors = _tensors(*padded)
        if key not in self._graphs:
            run = _run_of(self.backbone, len(plan.layouts))
            self._graphs[key] = CapturedGraph(run, tensors)
        return self._graphs[key](tensors)[: len(features)]


def pad_features(features: Tensor, count: int) -> Tensor:
    """Rows (N, D) and zeros up to ``count`` rows."""
    return pad(features, (0, 0, 0, count - len(features)))


def pad_plan(plan: TokenPlan, length: int) -> TokenPlan:
    """The same plan with ``length`` tokens in every sample and as many pillars as tokens."""
    layouts = tuple(_pad_layout(layout, length) for layout in plan.layouts)
    count = layouts[0].index.numel()
    return TokenPlan(layouts, tuple(pad(p, (0, count - len(p))) for p in plan.window_index))


def _pad_layout(layout: TokenLayout, length: int) -> TokenLayout:
    samples, old = layout.index.shape
    valid = layout.valid
    if valid is None:
        valid = torch.ones_like(layout.index, dtype=torch.bool)
    slot = layout.slot // old * length + layout.slot % old
    return TokenLayout(
        pad(layout.index, (0, length - old)),
        pad(valid, (0, length - old)),
        pad(slot, (0, samples * length - len(slot))),
    )


class CapturedGraph:
    """A function of tensors of fixed shapes, replayed from a CUDA graph; plain calls on a CPU.

    Args:
        run: reads its inputs where they lie and gives a tensor, or a tuple of them.
        inputs: the first ones; the graph keeps copies at fixed addresses.
    """

    def __init__(self, run: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
        self.inputs = [t.clone() for t in inputs]
        self.run = lambda: run(*self.inputs)
        self.graph: torch.cuda.CUDAGraph | None = None
        if self.inputs[0].is_cuda:
            self._capture()

    def _capture(self) -> None:
        """Warm up beside the current stream, where kernels are compiled, then capture."""
        stream = torch.cuda.Stream(self.inputs[0].device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.out = self.run()

    def __call__(self, inputs: Sequence[Tensor]) -> Any:
        """The results, valid until the next call."""
        for fixed, tensor in zip(self.inputs, inputs, strict=True):
            fixed.copy_(tensor)
        if self.graph is None:
            return self.run()
        self.graph.replay()
        return self.out


def _run_of(backbone: VoxelBackbone, layouts: int) -> Callable[..., Tensor]:
    """:meth:`VoxelBackbone.run` as a function of the tensors of :func:`_tensors`."""

    def run(features: Tensor, *rest: Tensor) -> Tensor:
        fixed = [TokenLayout(*rest[3 * i : 3 * i + 3]) for i in range(layouts)]
        return backbone.run(features, TokenPlan(tuple(fixed), tuple(rest[3 * layouts :])))

    return run


def _tensors(features: Tensor, plan: TokenPlan) -> list[Tensor]:
    of_layouts = []
    for layout in plan.layouts:
        assert layout.valid is not None  # padded layouts have a mask
        of_layouts += [layout.index, layout.valid, layout.slot]
    return [features, *of_layouts, *plan.window_index]


def autocast_type(x: Tensor) -> torch.dtype | None:
    """The type that autocast computes in on a tensor's device, None without autocast."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
