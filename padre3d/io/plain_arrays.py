"""Numpy arrays and scalars of pickles from nowhere, put together from parts that were checked.

numpy's own ``dtype.__setstate__`` trusts what a pickle holds: one state of six entries in place of
eight ends the process. So a pickle's types are kept as :class:`PlainType`, which takes numbers and
text only, and arrays are :class:`PlainArray`, which compares shape, type and bytes first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_SIMPLE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|c(?:8|16)|[SU]\d{1,6})")
_MOST_DIMENSIONS = 32


class PlainType:
    """The type of an array's elements as a pickle names it: numbers, truth values or text.

    Args:
        name: such as "f4" or "U12".
        align: of structured types, which are refused.
        copy: has no effect.

    Raises:
        ValueError: on objects, records, times, and elements of no size.
    """

    def __init__(self, name: object, align: object = False, copy: object = True) -> None:
        if not isinstance(name, str) or not _SIMPLE.fullmatch(name):
            raise ValueError(f"expected a type of numbers or text, got {str(name)[:40]!r}")
        self.dtype = np.dtype(name)
        if not self.dtype.itemsize:
            raise ValueError(f"expected a type of numbers or text, got {name!r} of no size")

    def __setstate__(self, state: object) -> None:
        simple = isinstance(state, tuple) and len(state) == 8 and state[2:5] == (None,) * 3
        order = state[1] if isinstance(state, tuple) and simple else None
        if order not in ("<", ">", "=", "|"):
            raise ValueError(f"expected the state of a simple type, got {str(state)[:60]}")
        if order != "|":
            self.dtype = self.dtype.newbyteorder(order)


class PlainArray(np.ndarray):
    """An array out of a pickle; pickled again it is numpy's own."""

    def __new__(cls, *args: object) -> PlainArray:
        """Refuse what a pickle could ask for; see :func:`_reconstruct`."""
        raise TypeError("expected arrays that are made by _reconstruct")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError(f"expected an array's state of 5 entries, got {str(state)[:60]}")
        _, shape, kind, fortran, data = state
        super().__setstate__((1, _shape(shape), _sized(kind, shape, data), bool(fortran), data))

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _ndarray(*args: object) -> None:
    """The class as :func:`_reconstruct` gets it, never called."""
    raise TypeError("expected an array by _reconstruct, got a call of numpy.ndarray")


def _reconstruct(subtype: object, shape: object, typecode: object) -> np.ndarray:
    """An empty array, whose state comes next."""
    return np.empty(0, np.int8).view(PlainArray)


def _scalar(kind: object, data: object) -> Any:
    return np.frombuffer(_bytes(data), _sized(kind, (), data))[0]


def _frombuffer(data: object, kind: object, shape: object, order: object) -> np.ndarray:
    if order not in ("C", "F"):
        raise ValueError(f"expected an array's order 'C' or 'F', got {str(order)[:40]!r}")
    flat = np.frombuffer(_bytes(data), _sized(kind, shape, data))
    return flat.reshape(_shape(shape), order=order)  # type: ignore[call-overload,no-any-return]


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"expected an array's shape, got {str(shape)[:60]}")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"expected an array's shape, got {str(shape)[:60]}")
    return shape


def _bytes(data: object) -> bytes | bytearray:
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError(f"expected an array's bytes, got {type(data).__name__}")
    return data


def _sized(kind: object, shape: object, data: object) -> np.dtype:
    """The type of an array's elements, whose bytes are as many as its shape asks for."""
    if not isinstance(kind, PlainType):
        raise ValueError(f"expected an array's type, got {type(kind).__name__}")
    wanted = math.prod(_shape(shape)) * kind.dtype.itemsize
    if len(_bytes(data)) != wanted:
        raise ValueError(
            f"expected {wanted} bytes for an array {shape} of {kind.dtype}, got {len(_bytes(data))}"
        )
    return kind.dtype


def _no_bytes(*args: object) -> bytes:
    """How pickles of protocol 2 write b""."""
    if args:
        raise ValueError(f"expected bytes() of nothing, got {str(args)[:40]}")
    return b""


def plain_globals() -> dict[str, Callable[..., Any]]:
    """What stands in a pickle for arrays, by full name, and what to take for it; of both numpys."""
    found: dict[str, Callable[..., Any]] = {"numpy.ndarray": _ndarray, "numpy.dtype": PlainType}
    found |= {f"{builtins}.bytes": _no_bytes for builtins in ("builtins", "__builtin__")}
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray._reconstruct"] = _reconstruct
        found[f"{core}.multiarray.scalar"] = _scalar
        found[f"{core}.numeric._frombuffer"] = _frombuffer
    return found
