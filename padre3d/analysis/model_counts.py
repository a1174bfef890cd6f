"""Parameters and MACs of a built detector, stage by stage, on one cloud.

MACs are counted while the model runs: matrix products and convolutions, attention's two products
included, convolutions over the pillar grid by the neighbours that are there. What costs no
multiply-accumulate is not counted: gathers, norms, activations, Hadamard products, the FFT of Hyena
and the scan of Mamba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

POSITION_EMBEDDING = "position_embeddings"


@dataclass(frozen=True)
class Stage:
    """One part of the model.

    Attributes:
        name: its name.
        parameters: all of it.
        macs: on the given cloud.
    """

    name: str
    parameters: int
    macs: int


def count_stages(model: nn.Module, run: Callable[[], Any]) -> list[Stage]:
    """Count the direct children of ``model`` and, for a backbone of mixers, its parts.

    Args:
        model: the detector.
        run: calls the model once on the cloud to count.

    Returns:
        One stage per child; the backbone is given as its mixers, the rest of its layers, and its
        position embeddings.
    """
    # The fused attention kernel of the CPU is not known to the counter; its two products are.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        root = _Root(model, run)
        root()
    flops = counter.get_flop_counts()

    def macs(name: str) -> int:
        return sum(flops.get(f"_Root.model.{name}", {}).values()) // 2

    stages = []
    for name, child in model.named_children():
        total = Stage(name, parameters(child), macs(name))
        parts = _backbone_parts(name, child, macs)
        if parts:
            rest = Stage(
                f"{name}: feed-forward and norms",
                total.parameters - sum(part.parameters for part in parts),
                total.macs - sum(part.macs for part in parts),
            )
            stages += [parts[0], rest, *parts[1:]]
        elif total.parameters or total.macs:
            stages.append(total)
    return stages


class _Root(nn.Module):
    """Gives every module inside ``model`` a full name in the counter, whichever method is run."""

    def __init__(self, model: nn.Module, run: Callable[[], Any]) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self) -> None:
        self.run()


def _backbone_parts(name: str, child: nn.Module, macs: Callable[[str], int]) -> list[Stage]:
    """(mixers, position embeddings) of a backbone whose layers have a ``mixer``; else nothing."""
    mixers = {n: m for n, m in child.named_modules() if n.endswith(".mixer")}
    if not mixers:
        return []
    embeddings = getattr(child, POSITION_EMBEDDING, nn.ModuleList())
    inside = _called_modules(embeddings, f"{name}.{POSITION_EMBEDDING}")
    return [
        Stage(
            f"{name}: mixers",
            sum(parameters(m) for m in mixers.values()),
            sum(macs(f"{name}.{n}") for n in mixers),
        ),
        Stage(f"{name}: position embeddings", parameters(embeddings), sum(macs(n) for n in inside)),
    ]


def _called_modules(container: nn.Module, name: str) -> list[str]:
    """Names of the outermost modules in nested lists: the lists themselves are never called."""
    if not isinstance(container, nn.ModuleList):
        return [name]
    return [n for key, m in container.named_children() for n in _called_modules(m, f"{name}.{key}")]


def parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
