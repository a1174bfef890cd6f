"""Names of the reference implementation's weights in our modules, one function per module.

Every function maps one key, without the prefix of its module, and returns None for a key it does
not know. The maps are one to one; :func:`rename` applies one of them to a whole state dict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def pillar_encoder_key(key: str) -> str | None:
    """``pfn_layers.0.linear.weight`` -> ``layers.0.linear.weight``."""
    match = re.fullmatch(r"pfn_layers\.(\d+)\.((?:linear|norm)\.\w+)", key)
    return f"layers.{match[1]}.{match[2]}" if match else None


def rename(
    state: Mapping[str, T], to_ours: Callable[[str], str | None], prefix: str = ""
) -> dict[str, T]:
    """Rename the keys of a state dict that start with a prefix, and drop the prefix.

    Args:
        state: reference key -> value.
        to_ours: one of the functions of this module.
        prefix: the reference module's place, such as ``"vfe."``.

    Raises:
        ValueError: if a key with this prefix is unknown.
    """
    renamed = {}
    for key, value in state.items():
        if key.startswith(prefix):
            ours = to_ours(key[len(prefix) :])
            if ours is None:
                raise ValueError(f"unknown reference key {key!r}")
            renamed[ours] = value
    return renamed
