"""Checkpoints, manifests, info files and tables from nowhere: changed in meaning or in bytes."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import torch
from point_inputs import mutated

ODD = (
    *(None, True, -1, 0, 3, 1.5, float("nan"), float("inf"), 1e308, 2**31, 2**63, 2**70, 10**30),
    *("", "a", "../x", "/etc/hostname", "x" * 300, "0", "\0", "é", [], {}, [[]], [None], {"a": 1}),
)
KEYS = ("other", "", 0, None, "x" * 300)
ARRAYS = (b"x", np.zeros(3), np.array("a"), np.float32("nan"), np.zeros((2, 0)), {1}, (1, 2))


def changed(value, rng: np.random.Generator, odd: tuple = ODD):
    """A copy of nested containers with one thing in it replaced, removed or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.97:
        key = list(value)[rng.integers(len(value))]
        copy = type(value)(value)
        kind = rng.random()
        if kind < 0.1:
            del copy[key]
        elif kind < 0.15:
            copy[KEYS[rng.integers(len(KEYS))]] = copy.pop(key)
        else:
            copy[key] = changed(value[key], rng, odd)
        return copy
    if isinstance(value, (list, tuple)) and len(value) and rng.random() < 0.95:
        at, copy = int(rng.integers(len(value))), list(value)
        kind = rng.random()
        if kind < 0.1:
            del copy[at]
        elif kind < 0.2:
            copy.insert(at, copy[at])
        else:
            copy[at] = changed(copy[at], rng, odd)
        return type(value)(copy)
    return _pick(odd, rng)


def _pick(values: tuple, rng: np.random.Generator):
    value = values[rng.integers(len(values))]
    return str(value) if isinstance(value, (list, dict, set)) and rng.random() < 0.1 else value


def _several(value, rng: np.random.Generator, odd: tuple = ODD):
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        value = changed(value, rng, odd)
    return value


def _damaged(content: bytes, rng: np.random.Generator, share: float = 0.4) -> bytes:
    if rng.random() < share:
        for _ in range(rng.integers(1, 4)):
            content = mutated(content, rng)
    return content


def json_input(value, rng: np.random.Generator) -> bytes:
    """JSON of a changed value, perhaps damaged."""
    return _damaged(json.dumps(_several(value, rng), default=str).encode(), rng)


def pickle_input(value, rng: np.random.Generator) -> bytes:
    """A pickle of a changed value, perhaps damaged."""
    protocol = int(rng.choice([0, 2, 4, 5]))
    return _damaged(pickle.dumps(_several(value, rng, ODD + ARRAYS), protocol), rng)


def npz_input(arrays: dict, rng: np.random.Generator) -> bytes:
    """An archive of arrays of which one may be another, perhaps damaged."""
    arrays = dict(arrays)
    if rng.random() < 0.7:
        name = list(arrays)[rng.integers(len(arrays))]
        others = (
            arrays[name].astype("f8"),
            arrays[name].ravel(),
            arrays[name][..., None],
            arrays[name] - 1,
            arrays[name] * 0 + 2**20,
            np.array("a"),
            np.array([None]),
            np.zeros((0, 3), np.int32),
        )
        if rng.random() < 0.2:
            del arrays[name]
        else:
            arrays[name] = others[rng.integers(len(others))]
    file = io.BytesIO()
    np.savez(file, **arrays)
    content = file.getvalue()
    return _rezipped(content, rng) if rng.random() < 0.4 else _damaged(content, rng)


def checkpoint() -> dict:
    """A small training checkpoint."""
    state = OrderedDict(weight=torch.arange(12.0).view(3, 4), count=torch.tensor(5))
    return {
        "meta": {"epoch": 2, "iter": 20, "seed": 0, "classes": ("car",)},
        "state_dict": state,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        "message_hub": {"runtime_info": {"best": np.float64(0.5), "array": np.arange(3)}},
    }


def checkpoint_input(rng: np.random.Generator) -> bytes:
    """A checkpoint of changed content, with damaged members of right sums, or damaged bytes."""
    tensors = (torch.zeros(3), torch.zeros(2, 2).to_sparse(), torch.zeros(4, dtype=torch.cfloat))
    odd = (*ODD, *ARRAYS, *tensors, torch.full((3, 4), torch.inf), torch.zeros(3, 4).short())
    file = io.BytesIO()
    old = rng.random() < 0.05
    torch.save(_several(checkpoint(), rng, odd), file, _use_new_zipfile_serialization=not old)
    content = file.getvalue()
    return _rezipped(content, rng) if rng.random() < 0.4 and not old else _damaged(content, rng)


def _rezipped(content: bytes, rng: np.random.Generator) -> bytes:
    """The archive with damaged members whose checksums are right, packed or doubled."""
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", kind) as new:
        members = old.infolist()
        chosen = int(rng.integers(len(members)))
        for number, member in enumerate(members):
            data = old.read(member)
            if number == chosen or rng.random() < 0.1:
                data = mutated(data, rng)
            new.writestr(member.filename, data)
    return out.getvalue()
