"""Small constants beside the tensors they are used with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """Numbers (K,) in the type and on the device of a tensor, written there by fills.

    ``like.new_tensor(values)`` copies from the host, which waits until the device has done all work
    before the copy.
    """
    return torch.cat([like.new_full((1,), value) for value in values])
