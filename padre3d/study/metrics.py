"""Figures of a run out of its metrics.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARAMETER_KEYS = ("params", "parameters")


class MetricsError(ValueError):
    """A run's metrics.json is missing, broken or lacks a metric."""


def read_metrics(path: Path) -> dict[str, Any]:
    """The object of a metrics.json, nested objects flattened to keys with ``/``.

    Raises:
        MetricsError: if there is no such object.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise MetricsError(f"the command left no {path.name}") from None
    except ValueError as error:
        raise MetricsError(f"{path.name}: expected JSON: {error}") from None
    if not isinstance(found, dict):
        raise MetricsError(f"{path.name}: expected an object, got {type(found).__name__}")
    return _flat(found)


def select(
    found: Mapping[str, Any], names: tuple[str, ...], rename: Mapping[str, str]
) -> dict[str, float | None]:
    """The study's metrics; None for one that is not finite.

    Raises:
        MetricsError: if a metric is missing, ambiguous or no number.
    """
    sources: dict[str, list[str]] = {name: [name] for name in names}
    for source, name in rename.items():
        sources[name].append(source)
    metrics: dict[str, float | None] = {}
    for name, wanted in sources.items():
        value = found[_key(found, name, wanted)]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MetricsError(f"metric {name}: expected a number, got {value!r}")
        metrics[name] = float(value) if math.isfinite(value) else None
    return metrics


def costs(found: Mapping[str, Any]) -> dict[str, Any]:
    """``params``, ``macs``, ``seconds``, ``device``, ``data`` as far as the command tells them.

    ``data`` is a name for the data's contents, or one for each of its parts.
    """
    told: dict[str, Any] = dict.fromkeys(("params", "macs", "seconds", "device", "data"))
    for key in PARAMETER_KEYS:
        if isinstance(found.get(key), int | float):
            told["params"] = int(found[key])
    for key, kind in (("macs", int), ("seconds", float)):
        if isinstance(found.get(key), int | float):
            told[key] = kind(found[key])
    if isinstance(found.get("device"), str):
        told["device"] = found["device"]
    parts = [key for key in sorted(found) if key == "data" or key.startswith("data/")]
    if parts:
        known = [str(found[key]) for key in parts if found[key] is not None]
        told["data"] = " ".join(known) or None
    return told


def _key(found: Mapping[str, Any], name: str, wanted: list[str]) -> str:
    exact = [key for key in wanted if key in found]
    if exact:
        return exact[-1]
    keys = [key for key in found if any(key.endswith(f"/{source}") for source in wanted)]
    if len(keys) != 1:
        problem = (
            f"{len(keys)} keys end with it: {keys}" if keys else f"it is not in {_some(found)}"
        )
        raise MetricsError(f"metric {name}: {problem}")
    return keys[0]


def _some(found: Mapping[str, Any]) -> str:
    keys = sorted(found)
    return ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")


def _flat(found: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}/"))
        else:
            flat[prefix + key] = value
    return flat
