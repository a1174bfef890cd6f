"""Parts that stay in float32 inside an autocast region."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Squares of shorter vectors count as this: below it a norm has no digits left.
LEAST_SQUARE = 1e-24


def full_precision(like: Tensor) -> AbstractContextManager:
    """Switch autocast off on the device of ``like``; nothing (also for tracers) if it is off."""
    device_type = like.device.type
    # Devices without autocast, such as "meta", know no answer to the second question.
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def unit_length(x: Tensor) -> Tensor:
    """Vectors along the last axis divided by their length, zero where they are, in x's precision.

    At least float32 within: in float16 squares overflow beyond 256, and what keeps zero vectors
    from 0 / 0 is zero itself. Differentiable twice at zero.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    squares = wide.square().sum(-1, keepdim=True)
    return (wide * squares.clamp_min(LEAST_SQUARE).rsqrt()).to(x.dtype)
