"""Checks at public boundaries: a wrong shape names the tensor, what was expected and what came."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor


def check_shape(x: Tensor, spec: str, *, name: str) -> dict[str, int]:
    """Check a tensor against a shape such as ``"G L 128"``.

    Args:
        x: the tensor.
        spec: one word per axis: an integer must match, a letter is free but equal letters must be
            equal sizes, ``*`` matches anything.
        name: how the error names the tensor.

    Returns:
        The size bound to each letter.

    Raises:
        ValueError: on a mismatch.
    """
    words = spec.split()
    sizes: dict[str, int] = {}
    shape = tuple(x.shape)
    matches = len(shape) == len(words)
    for word, size in zip(words, shape, strict=False):
        if word == "*":
            continue
        wanted = int(word) if word.isdigit() else sizes.setdefault(word, size)
        matches = matches and wanted == size
    if not matches:
        raise ValueError(f"{name}: expected shape ({', '.join(words)}), got {shape}")
    return sizes


def check_mask(mask: Tensor, groups: int, tokens: int, *, name: str) -> None:
    """Check a mask of tokens (groups, tokens) bool, True for real ones.

    Raises:
        ValueError: on another shape or type.
    """
    if mask.shape != (groups, tokens):
        raise ValueError(f"{name}: expected shape {(groups, tokens)}, got {tuple(mask.shape)}")
    if mask.dtype != torch.bool:
        raise ValueError(f"{name}: expected torch.bool, True for real tokens, got {mask.dtype}")


def check_count(name: str, value: Any, least: int) -> int:
    """Check an integer argument against its least value and return it.

    Raises:
        ValueError: if it is no integer (a bool and 2.0 are none) or too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {value!r}")
    return int(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check an argument against the values it may have.

    Raises:
        ValueError: lists them.
    """
    if value not in choices:
        raise ValueError(f"{name}: expected one of {tuple(choices)}, got {value!r}")


def renamed_arguments(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Arguments under their present names, for configs that were written with the old ones.

    Args:
        given: unexpected keyword arguments.
        names: old name -> present name.

    Returns:
        The values by present name; each one is warned about.

    Raises:
        TypeError: for a keyword that never was an argument.
    """
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")
    for old in given:
        warnings.warn(f"{old!r} is now named {names[old]!r}", FutureWarning, stacklevel=3)
    return {names[old]: value for old, value in given.items()}
