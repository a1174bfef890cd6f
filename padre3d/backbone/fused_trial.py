"""``impl="auto"``: an encoder layer's fused kernels where a trial shows them right and faster.

The trial runs on the first pillars that a layer of a kind sees on a CUDA device: fused and eager
code on the same input, in training with their gradients. It takes the time of compiling the kernels
and a few runs of the layer, draws no random numbers and holds for the process. Its answer depends
on measured times, so a repeated training may round differently; an explicit ``impl`` never does.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from padre3d.structures.tokens import TokenLayout, TokenPositions

logger = logging.getLogger(__name__)

DEVICES = ("cuda",)
RUNS = 3
# Largest difference, relative to the largest value. Eager products may be in TF32, whose factors
# have ten bits.
TOLERANCE = {torch.float32: 0.01, torch.float16: 0.03, torch.bfloat16: 0.1}

_known: dict[Hashable, bool] = {}


def prefers_fused(
    layer: Any, x: Tensor, layout: TokenLayout, positions: TokenPositions | None
) -> bool:
    """Whether the layer should run in fused kernels: never off CUDA, nor before a trial could run.

    Args:
        layer: an EncoderLayer whose mixer leaves the choice open.
        x: pillar features (N, D).
        layout: where they stand in the sequences.
        positions: their embeddings, or None.
    """
    if x.device.type not in DEVICES or not len(x) or not _kernels_would_do(layer):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    key = _kind(layer, x)
    if key not in _known:
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            return False  # a trial waits for the device, which a capture cannot
        _known[key] = _trial(layer, x.detach(), layout, positions)
    return _known[key]


def _kernels_would_do(layer: Any) -> bool:
    """A layer as the kernels know it, that nobody watches from inside."""
    activation = layer.activation
    return (
        isinstance(activation, nn.GELU)
        and activation.approximate == "none"
        and not (layer.dropout and layer.training)
        and not any(
            module._forward_hooks or module._forward_pre_hooks
            for module in layer.modules()
            if module is not layer
        )
    )


def _kind(layer: Any, x: Tensor) -> Hashable:
    shapes = tuple((name, tuple(p.shape), p.dtype) for name, p in layer.named_parameters())
    mode = (torch.is_grad_enabled(), layer.use_mask, repr(layer.mixer))
    return (x.device, _compute_dtype(x), mode, shapes)


def _trial(layer: Any, x: Tensor, layout: TokenLayout, positions: TokenPositions | None) -> bool:
    if positions is not None:
        positions = TokenPositions(positions.table.detach(), positions.window_index)
    try:
        runs = {impl: _run(layer, impl, x, layout, positions) for impl in ("eager", "triton")}
        worst = max(map(_difference, runs["triton"](), runs["eager"]()))
        allowed = TOLERANCE[_compute_dtype(x)]
        if not worst <= allowed:  # NaN too
            logger.warning(
                "impl='auto': eager code, since the fused layer differs from it by %.2g of the "
                "largest value, more than %.2g: please report this",
                *(worst, allowed),
            )
            return False
        seconds = {impl: _seconds(run, x.device) for impl, run in runs.items()}
    except (ValueError, ImportError) as error:  # a structure or type without kernels, no Triton
        logger.info("impl='auto': eager code, since %s", error)
        return False
    except Exception as error:  # whatever a compiler or driver raises: eager code needs neither
        logger.warning("impl='auto': eager code, since the fused layer failed: %r", error)
        return False
    fused = seconds["triton"] < seconds["eager"]
    logger.info(
        "impl='auto': %s (a layer of %d pillars: fused %.3g ms, eager %.3g ms)",
        *("the fused layer" if fused else "eager code", len(x)),
        *(1e3 * seconds[impl] for impl in ("triton", "eager")),
    )
    return fused


def _run(
    layer: Any,
    impl: str,
    x: Tensor,
    layout: TokenLayout,
    positions: TokenPositions | None,
) -> Callable[[], list[Tensor]]:
    """A function that returns the output and, with gradients, those of the input and weights."""
    trial = copy.deepcopy(layer)
    trial.mixer.impl = impl
    inputs = [
        x.clone().requires_grad_(torch.is_grad_enabled()),
        *(p for p in trial.parameters() if p.requires_grad),
    ]

    def run() -> list[Tensor]:
        out = trial.forward(inputs[0], layout, positions)  # the layer's own hooks act once
        if not torch.is_grad_enabled():
            return [out]
        # The gradient of a constant would vanish in the last norm.
        of_out = torch.arange(out.numel(), device=out.device).cos().view_as(out).to(out.dtype)
        return [out, *torch.autograd.grad(out, inputs, of_out)]

    return run


def _compute_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _difference(value: Tensor, expected: Tensor) -> float:
    largest = expected.float().abs().max().clamp(min=1e-6)
    return ((value.float() - expected.float()).abs().max() / largest).item()


def _seconds(run: Callable[[], list[Tensor]], device: torch.device) -> float:
    """Of the fastest of a few runs; ``run`` has been warmed up."""
    times = []
    for _ in range(RUNS):
        _wait_for(device)
        start = time.perf_counter()
        run()
        _wait_for(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
