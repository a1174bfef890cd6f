"""Parts that stay in float32 inside an autocast region."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Vectors whose largest channel is smaller get no unit length. float16 still holds it.
LEAST_CHANNEL = 1e-6


def full_precision(like: Tensor) -> AbstractContextManager:
    """Switch autocast off on the device of ``like``; nothing (also for tracers) if it is off."""
    device_type = like.device.type
    # Devices without autocast, such as "meta", know no answer to the second question.
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def unit_length(x: Tensor) -> Tensor:
    """Vectors along the last axis divided by their length, zero where they are zero.

    The largest channel is divided out first: squares then lie between 0 and 1 in any precision,
    also in that of an exported graph. As it cancels, no gradient goes through it. Differentiable
    twice at zero.
    """
    scaled = x / x.detach().abs().amax(-1, keepdim=True).clamp_min(LEAST_CHANNEL)
    # At least 1 but for vectors that are as good as zero.
    return scaled * scaled.square().sum(-1, keepdim=True).clamp_min(0.5).rsqrt()
