"""The state-space recurrence behind Mamba (appendix B.4), in linear time on any device.

h_t = Abar_t h_{t-1} + Bbar_t x_t,   y_t = C_t h_t       (Eqs. 51, 52)

with a diagonal A (E, S): each of E channels has S states of its own. The discretisation of a step
of size Delta is

| name | Abar | Bbar | source |
|---|---|---|---|
| published | exp(Delta A) | Delta B | the code of Mamba's authors, ``selective_scan`` |
| zoh | exp(Delta A) | (exp(Delta A) - 1) / A * B | Eqs. 53, 54: the zero-order hold |
| euler | 1 + Delta A | Delta B | Eqs. 68, 69: the polynomial approximation |

"euler" is stable only where Delta |A| <= 2: beyond, the state grows without bound.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

DISCRETISATIONS = ("published", "zoh", "euler")
# Longest sequence of a scan whose length is left open in an exported graph: 2 to this power.
DOUBLINGS = 20


def discretise(
    delta: Tensor, a: Tensor, b: Tensor, x: Tensor, kind: str = "published"
) -> tuple[Tensor, Tensor]:
    """(Abar, Bbar x), each (G, L, E, S).

    Args:
        delta: step sizes (G, L, E).
        a: diagonal of A (E, S), negative.
        b: input vectors (G, L, S).
        x: inputs (G, L, E).
        kind: one of :data:`DISCRETISATIONS`. "euler" warns where it is unstable.
    """
    if kind not in DISCRETISATIONS:
        raise ValueError(f"discretisation: expected one of {DISCRETISATIONS}, got {kind!r}")
    step = delta.unsqueeze(-1) * a
    drive = b.unsqueeze(2) * x.unsqueeze(-1)
    if kind == "zoh":
        return step.exp(), torch.expm1(step) / a * drive
    drive = delta.unsqueeze(-1) * drive
    if kind == "published":
        return step.exp(), drive
    _warn_if_unstable(step)
    return 1 + step, drive


def _warn_if_unstable(step: Tensor) -> None:
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or step.numel() == 0:
        return
    largest = -step.min().item()
    if largest > 2:
        warnings.warn(
            f"discretisation 'euler': expected steps Delta |A| <= 2, got up to {largest:.3g}: the "
            "state grows without bound; 'published' and 'zoh' have no such limit",
            stacklevel=4,
        )


def linear_recurrence(decay: Tensor, drive: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + drive_t with h_{-1} = 0, over dimension 1 of (G, L, ...).

    The length is cut into about sqrt(L) chunks. One loop of sqrt(L) steps runs inside all chunks at
    once, a second one carries the state from chunk to chunk: linear work, no division and no
    logarithm, so nothing overflows however strong the decay. A length left open for an exported
    graph takes :func:`doubling_recurrence`.
    """
    groups, length = drive.shape[:2]
    if not isinstance(length, int):
        return doubling_recurrence(decay, drive)
    if drive.numel() == 0:
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

    inside, decayed = [drives[0]], [decays[0]]
    for step, push in zip(decays[1:], drives[1:], strict=True):
        inside.append(step * inside[-1] + push)
        decayed.append(step * decayed[-1])
    carries = [torch.zeros_like(drives[0][:, 0])]
    for jump, push in zip(decayed[-1].unbind(1)[:-1], inside[-1].unbind(1)[:-1], strict=True):
        carries.append(jump * carries[-1] + push)
    carry = torch.stack(carries, 1).unsqueeze(2)
    states = torch.stack(inside, 2) + torch.stack(decayed, 2) * carry
    return states.flatten(1, 2)[:, :length]


def doubling_recurrence(decay: Tensor, drive: Tensor, doublings: int = DOUBLINGS) -> Tensor:
    """The same in ``doublings`` steps of all tokens at once, for any L <= 2**doublings.

    After step k a token holds what its last 2**k tokens give. The number of operations does not
    depend on L, as a graph with an open length needs; the work is L * doublings.
    """
    length = drive.shape[1]
    for k in range(doublings):
        before = drive.new_zeros(drive.shape[0], 1 << k, *drive.shape[2:])
        earlier_drive = torch.cat([before, drive], 1)[:, :length]
        earlier_decay = torch.cat([before, decay], 1)[:, :length]
        drive, decay = drive + decay * earlier_drive, decay * earlier_decay
    return drive


def selective_scan(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, discretisation: str = "published"
) -> Tensor:
    """y (G, L, E) from x and delta (G, L, E), a (E, S), b and c (G, L, S); Eqs. 51, 52."""
    decay, drive = discretise(delta, a, b, x, discretisation)
    states = linear_recurrence(decay.expand_as(drive), drive)
    return (states * c.unsqueeze(2)).sum(-1)
