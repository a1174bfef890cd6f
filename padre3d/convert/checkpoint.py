"""A whole checkpoint of the reference implementation in our layout, and back.

The reference stores ``{"epoch", "it", "model_state", "optimizer_state", "version"}``. Ours holds
``{"state_dict", "meta"}``; what has no place in our model (the reference's counter ``global_step``
and the entries beside the weights) waits in ``meta["reference"]`` for the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from padre3d.convert.head_keys import head_to_ours, head_to_reference
from padre3d.convert.keys import MODULES
from padre3d.training.checkpoint import is_finite, number_kind, state_of

HEAD_PREFIX = "dense_head."
# Prefix of a module in the reference -> its prefix in our detector.
PREFIXES = {
    "vfe.": "pillar_encoder.",
    "backbone_3d.": "backbone.",
    "backbone_2d.": "bev_backbone.",
    HEAD_PREFIX: "head.",
}
# Steps the reference's trainer has taken: a buffer of its model, not a weight.
COUNTER = "global_step"
_KEPT = ("epoch", "it", "version")

State = Mapping[str, Tensor]


class Mapped(NamedTuple):
    """Where one weight of the reference has gone."""

    reference: str
    ours: str
    shape: tuple[int, ...]


def weight_to_ours(key: str, weight: Tensor) -> tuple[str, Tensor] | None:
    """Our name and value of a weight of the reference's detector; None for an unknown name."""
    for theirs, prefix in PREFIXES.items():
        if not key.startswith(theirs):
            continue
        inner = key[len(theirs) :]
        if theirs == HEAD_PREFIX:
            found = head_to_ours(inner, weight)
            return found and (prefix + found[0], found[1])
        name = MODULES[theirs].to_ours(inner)
        return None if name is None else (prefix + name, weight)
    return None


def weight_to_reference(key: str, weight: Tensor) -> tuple[str, Tensor] | None:
    """The reference's name and value of a weight of ours; None for one that it has not."""
    for theirs, prefix in PREFIXES.items():
        if not key.startswith(prefix):
            continue
        inner = key[len(prefix) :]
        if theirs == HEAD_PREFIX:
            found = head_to_reference(inner, weight)
            return found and (theirs + found[0], found[1])
        name = MODULES[theirs].to_reference(inner)
        return None if name is None else (theirs + name, weight)
    return None


def to_ours(checkpoint: Mapping[str, Any], model: State) -> tuple[dict[str, Any], list[Mapped]]:
    """Convert a reference checkpoint.

    Args:
        checkpoint: as loaded; ``model_state`` holds the weights.
        model: state dict of our detector: it says what has to be there.

    Returns:
        Our checkpoint, and where every weight has gone.

    Raises:
        ValueError: listing every key that is missing, unexpected, of the wrong shape or of another
            kind of numbers, or not finite, or if the detector has weights that the reference cannot
            have.
    """
    state = _tensors(checkpoint, "model_state")
    expected = {COUNTER: torch.zeros(1, dtype=torch.int64), **_in_reference_layout(model)}
    _refuse_misfits(expected, state)
    converted, mapped = {}, []
    for key, weight in state.items():
        found = None if key == COUNTER else weight_to_ours(key, weight)
        if found is not None:
            converted[found[0]] = found[1]
            mapped.append(Mapped(key, found[0], tuple(weight.shape)))
    kept = {name: checkpoint[name] for name in _KEPT if name in checkpoint}
    return {
        "state_dict": converted,
        "meta": {"reference": {**kept, COUNTER: state[COUNTER]}},
    }, mapped


def to_reference(
    checkpoint: Mapping[str, Any], model: State
) -> tuple[dict[str, Any], list[Mapped]]:
    """Convert a checkpoint of ours, or a bare state dict.

    Arguments, results and errors as :func:`to_ours`.
    """
    state = state_of(dict(checkpoint), "to convert")
    _in_reference_layout(model)
    _refuse_misfits(model, state)
    meta = (checkpoint.get("meta") if "state_dict" in checkpoint else None) or {}
    kept = meta.get("reference") or {}
    steps = int(meta.get("iter", 0))
    converted, mapped = {COUNTER: kept.get(COUNTER, torch.tensor([steps]))}, []
    for key, weight in state.items():
        found = weight_to_reference(key, weight)
        if found is not None:
            converted[found[0]] = found[1]
            mapped.append(Mapped(found[0], key, tuple(found[1].shape)))
    return {
        "epoch": kept.get("epoch", int(meta.get("epoch", 0))),
        "it": kept.get("it", steps),
        "model_state": converted,
        "optimizer_state": None,
        "version": kept.get("version", "padre3d"),
    }, mapped


def _in_reference_layout(model: State) -> dict[str, Tensor]:
    """The state dict of our detector under the reference's names, in its shapes."""
    found = {key: weight_to_reference(key, weight) for key, weight in model.items()}
    homeless = [key for key, pair in found.items() if pair is None]
    if homeless:
        raise ValueError(
            "expected the config of a DSVT model (mixer set_attention), got a model with "
            f"{len(homeless)} weights that the reference has not:" + _lines(homeless)
        )
    return dict(pair for pair in found.values() if pair is not None)


def _tensors(checkpoint: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    state = checkpoint.get(name)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"expected a checkpoint with a {name!r} of tensors, got {sorted(map(str, checkpoint))}"
        )
    return dict(state)


def _refuse_misfits(expected: State, got: State) -> None:
    kinds = {
        "missing": [key for key in expected if key not in got],
        "unexpected": [key for key in got if key not in expected],
        "of the wrong shape": [
            f"{key}: expected {tuple(expected[key].shape)}, got {tuple(got[key].shape)}"
            for key in expected
            if key in got and expected[key].shape != got[key].shape
        ],
        "of another kind": [
            f"{key}: expected {number_kind(expected[key])}, got {number_kind(got[key])}"
            for key in expected
            if key in got and number_kind(expected[key]) != number_kind(got[key])
        ],
    }
    if any(kinds.values()):
        raise ValueError(
            "the checkpoint does not fit the config:"
            + "".join(
                f"\n{len(keys)} {kind}:{_lines(keys)}" for kind, keys in kinds.items() if keys
            )
        )
    bad = [key for key, value in got.items() if not is_finite(value)]
    if bad:
        raise ValueError(
            f"expected finite weights, got NaN or infinity in {len(bad)}:{_lines(bad)}"
        )


def _lines(keys: list[str]) -> str:
    return "".join(f"\n  {key}" for key in keys)
