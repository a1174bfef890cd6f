"""The state-space recurrence behind Mamba (appendix B.4), in linear time on any device.

h_t = Abar_t h_{t-1} + Bbar_t x_t,   y_t = C_t h_t       (Eqs. 51, 52)

with a diagonal A (E, S): each of E channels has S states of its own. The discretisation of a step
of size Delta is

| name | Abar | Bbar | source |
|---|---|---|---|
| zoh | exp(Delta A) | (exp(Delta A) - 1) / A * B | Eqs. 53, 54 |
| euler | 1 + Delta A | Delta B | Eqs. 68, 69: the polynomial approximation |
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

DISCRETISATIONS = ("zoh", "euler")


def discretise(
    delta: Tensor, a: Tensor, b: Tensor, x: Tensor, kind: str = "zoh"
) -> tuple[Tensor, Tensor]:
    """(Abar, Bbar x), each (G, L, E, S).

    Args:
        delta: step sizes (G, L, E).
        a: diagonal of A (E, S), negative.
        b: input vectors (G, L, S).
        x: inputs (G, L, E).
        kind: "zoh" or "euler".
    """
    if kind not in DISCRETISATIONS:
        raise ValueError(f"discretisation: expected one of {DISCRETISATIONS}, got {kind!r}")
    step = delta.unsqueeze(-1) * a
    drive = b.unsqueeze(2) * x.unsqueeze(-1)
    if kind == "euler":
        return 1 + step, delta.unsqueeze(-1) * drive
    return step.exp(), torch.expm1(step) / a * drive


def linear_recurrence(decay: Tensor, drive: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + drive_t with h_{-1} = 0, over dimension 1 of (G, L, ...).

    The length is cut into about sqrt(L) chunks. One loop of sqrt(L) steps runs inside all chunks at
    once, a second one carries the state from chunk to chunk: linear work, no division and no
    logarithm, so nothing overflows however strong the decay.
    """
    groups, length = drive.shape[:2]
    if length == 0:
        return drive
    chunk = math.isqrt(length - 1) + 1
    chunks = -(-length // chunk)
    missing = chunks * chunk - length
    rest = drive.shape[2:]
    decay = torch.cat([decay, decay.new_ones(groups, missing, *rest)], 1)
    drive = torch.cat([drive, drive.new_zeros(groups, missing, *rest)], 1)
    # unbind, not indexing: the gradient of one index is as large as the whole tensor
    decays = decay.view(groups, chunks, chunk, *rest).unbind(2)
    drives = drive.view(groups, chunks, chunk, *rest).unbind(2)

    inside, reach = [drives[0]], [decays[0]]
    for step, push in zip(decays[1:], drives[1:], strict=True):
        inside.append(step * inside[-1] + push)
        reach.append(step * reach[-1])
    carries = [torch.zeros_like(drives[0][:, 0])]
    for jump, push in zip(reach[-1].unbind(1)[:-1], inside[-1].unbind(1)[:-1], strict=True):
        carries.append(jump * carries[-1] + push)
    carry = torch.stack(carries, 1).unsqueeze(2)
    states = torch.stack(inside, 2) + torch.stack(reach, 2) * carry
    return states.flatten(1, 2)[:, :length]


def selective_scan(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, discretisation: str = "zoh"
) -> Tensor:
    """y (G, L, E) from x and delta (G, L, E), a (E, S), b and c (G, L, S); Eqs. 51-54."""
    decay, drive = discretise(delta, a, b, x, discretisation)
    states = linear_recurrence(decay.expand_as(drive), drive)
    return (states * c.unsqueeze(2)).sum(-1)
