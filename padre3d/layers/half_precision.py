"""Parts that stay in float32 inside an autocast region."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager:
    """Switch autocast off on the device of ``like``; nothing (also for tracers) if it is off."""
    device_type = like.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
