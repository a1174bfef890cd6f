"""Overrides as text: ``--cfg-options key=value`` as mmengine's ``DictAction`` reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

SPECIAL = set("()[]{},'\" \t\n")


def cfg_options(overrides: Mapping[str, Any]) -> list[str]:
    """Arguments that set the overrides; none at all for no overrides.

    Dictionaries become dotted keys, so they are merged into the config, not put in its place
    (``_delete_=True`` among them replaces, as in any mmengine config).

    Raises:
        ValueError: for a value that ``DictAction`` would read as another one.
    """
    pairs = [f"{key}={literal(key, value)}" for key, value in _flat(overrides)]
    return ["--cfg-options", *pairs] if pairs else []


def literal(key: str, value: Any) -> str:
    """A value in ``DictAction``'s syntax: Python literals, strings without quotes.

    Raises:
        ValueError: for a value that ``DictAction`` would read as another one.
    """
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return _bare(key, value)
    if isinstance(value, list | tuple):
        if "" in value:
            raise ValueError(f"override {key}: an empty string in a list cannot be written")
        inner = ",".join(literal(key, item) for item in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    raise ValueError(
        f"override {key}: expected None, bool, int, float, str, list, tuple or dict outside of "
        f"lists, got {value!r}"
    )


def plain_text(value: Any) -> str:
    """A value that stands in for a placeholder: lists and dictionaries as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else str(value)


def _bare(key: str, value: str) -> str:
    if SPECIAL & set(value):
        raise ValueError(
            f"override {key}: expected a string without brackets, commas, quotes and spaces, "
            f"got {value!r}"
        )
    if value in ("None",) or value.lower() in ("true", "false") or _is_number(value):
        raise ValueError(f"override {key}: the string {value!r} would be read as a literal")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _flat(overrides: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in overrides.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
