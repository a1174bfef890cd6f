"""Mixers by name, as configs write them."""

from __future__ import annotations

from typing import Any

from torch import nn

from padre3d.mixers.padre import PADRe
from padre3d.mixers.set_attention import SetAttention

MIXERS: dict[str, type[nn.Module]] = {
    "padre": PADRe,
    "set_attention": SetAttention,
}


def build_mixer(cfg: dict[str, Any], dim: int) -> nn.Module:
    """Build a mixer for ``dim`` channels from ``dict(type=NAME, **arguments)``.

    Raises:
        ValueError: if the type is missing or unknown; lists the known ones.
    """
    arguments = dict(cfg)
    name = arguments.pop("type", None)
    if name not in MIXERS:
        raise ValueError(f"mixer type: expected one of {sorted(MIXERS)}, got {name!r}")
    try:
        return MIXERS[name](dim, **arguments)
    except TypeError as error:
        raise ValueError(f"mixer {name!r}: cannot be built from {arguments}: {error}") from error
