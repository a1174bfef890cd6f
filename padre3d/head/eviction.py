"""Which keys of the local window can go: how much each of them changes the attention's output.

For the weights a and the values v of a query, with the output o = sum_j a_j v_j, dropping key j and
renormalising the other weights moves the output by::

    o' - o = a_j / (1 - a_j) (o - v_j)

Its length is the eviction error of CAOTE (Goel et al., 2025), which ranks keys by it instead of by
their weights alone: a key of a large weight whose value is that of the others costs nothing. A key
of the window is dropped from all heads at once, so here the length is taken behind the output
projection, where the heads' shifts add up.

The errors of single keys say nothing about dropping many: of two equal keys each is cheap to drop,
both are not. ``joint`` therefore empties the window in rounds. In each it drops the keys that leave
the output closest to that of the whole window, which has the same closed form: with the output o_S
of the keys that are left, the error without key j is |o_S - o + a_j / (1 - a_j) (o_S - v_j)|.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from padre3d.head.decoder import LocalCrossAttention, LocalDecoderLayer
from padre3d.head.windows import LocalWindow

SCORES = ("joint", "caote", "attention", "distance", "random")
MEASURED = ("joint", "caote", "attention")
# Of the keys that are left, dropped in one round of "joint".
SHARE = 0.02
# Queries that "joint" looks at.
SAMPLE = 256
# Queries at a time: the shifts of one are keys x channels numbers.
BLOCK = 32


def dropped_key_shifts(logits: Tensor, values: Tensor) -> Tensor:
    """What dropping each key on its own adds to the output of an attention.

    The key of the largest weight, the only one for which 1 - a_j can lose its digits, is really
    dropped and the softmax taken anew.

    Args:
        logits: (..., W) of the keys, at least two.
        values: (..., W, D).

    Returns:
        (..., W, D).

    Raises:
        ValueError: for fewer than two keys, without which nothing is left.
    """
    if logits.shape[-1] < 2:
        raise ValueError(f"eviction: expected at least 2 keys, got {logits.shape[-1]}")
    weights = torch.softmax(logits, -1)[..., None]
    output = (weights * values).sum(-2, keepdim=True)
    top = logits.argmax(-1, keepdim=True)
    weights = weights.scatter(-2, top[..., None], 0.0)
    shifts = weights / (1 - weights) * (output - values)
    others = torch.softmax(logits.scatter(-1, top, -torch.inf), -1)[..., None]
    without_top = (others * values).sum(-2, keepdim=True) - output
    place = top[..., None].expand_as(without_top)
    return shifts.scatter(-2, place, without_top)


def head_shifts(
    attention: LocalCrossAttention, query: Tensor, keys: Tensor, bias: Tensor
) -> Tensor:
    """Shifts (N, heads, W, C / heads) of each head's output; arguments as the attention's."""
    channels, heads = attention.channels, attention.num_heads
    to_value = attention.in_proj_weight[2 * channels :]
    # The bias of the values is the same for all of them and cancels.
    values = F.linear(keys, to_value).unflatten(2, (heads, -1)).transpose(1, 2)
    return dropped_key_shifts(attention.logits(query, keys, bias), values)


def output_shifts(
    attention: LocalCrossAttention, query: Tensor, keys: Tensor, bias: Tensor
) -> Tensor:
    """Shifts (N, W, C) of the attention's output when all heads drop the key."""
    shifts = head_shifts(attention, query, keys, bias)
    return F.linear(shifts.transpose(1, 2).flatten(2), attention.out_proj.weight)


class WindowStatistics:
    """Means over all queries that a decoder sees, for each key of its window, and a sample of them.

    Args:
        decoder: what is watched while the context is open.
        sample: queries to keep of each call for :func:`joint_scores`, evenly spaced.

    Attributes:
        queries, frames: how many were seen; ``frames`` counts the calls of the decoder.
    """

    def __init__(self, decoder: LocalDecoderLayer, sample: int = 0) -> None:
        self.decoder, self.sample = decoder, sample
        self.queries = self.frames = 0
        self._kept: list[tuple[Tensor, ...]] = []
        self._sums: dict[str, Tensor] = {}
        self._hook: Any = None

    def __enter__(self) -> WindowStatistics:
        self._hook = self.decoder.cross_attention.register_forward_pre_hook(self._add)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hook.remove()

    @torch.no_grad()
    def _add(self, attention: LocalCrossAttention, inputs: tuple[Tensor, ...]) -> None:
        for query, keys, bias in zip(*(x.split(BLOCK) for x in inputs), strict=True):
            weights = torch.softmax(attention.logits(query, keys, bias), -1).mean(1)
            errors = output_shifts(attention, query, keys, bias).norm(dim=2)
            for name, value in (("caote", errors), ("attention", weights)):
                self._sums[name] = self._sums.get(name, 0.0) + value.double().sum(0)
        if self.sample:
            every = -(-len(inputs[0]) // self.sample)
            self._kept.append(tuple(x[::every].clone() for x in inputs))
        self.queries += len(inputs[0])
        self.frames += 1

    def scores(self, score: str, fewest: int = 1) -> Tensor:
        """Scores (W,) of :data:`MEASURED`.

        Args:
            score: "caote" or "attention", a mean over the queries, or "joint" of the sample.
            fewest: of "joint": the smallest number of keys that will be asked for.

        Raises:
            ValueError: if there was no query.
        """
        if not self.queries:
            raise ValueError("window scores: expected a frame with a point in range, got none")
        if score != "joint":
            return self._sums[score] / self.queries
        query, keys, bias = (torch.cat(x) for x in zip(*self._kept, strict=True))
        own = (self.decoder.window.cells() == 0).all(1)
        return joint_scores(self.decoder.cross_attention, (query, keys, bias), own, fewest)


@torch.no_grad()
def joint_scores(
    attention: LocalCrossAttention, sample: tuple[Tensor, Tensor, Tensor], own: Tensor, fewest: int
) -> Tensor:
    """Scores (W,): the later a key is dropped, the higher.

    Args:
        attention: of the decoder.
        sample: query, keys and bias of some queries, as :meth:`LocalCrossAttention.forward` has.
        own: (W,) True for the key that is never dropped.
        fewest: number of keys at which to stop; those have all the same score.
    """
    query, keys, bias = sample
    whole = attention(query, keys, bias)
    left = torch.arange(keys.shape[1], device=keys.device)
    scores = torch.zeros(len(left), dtype=torch.float64, device=keys.device)
    rounds = 0
    while len(left) > fewest:
        errors = scores.new_zeros(len(left))
        for q, k, b, before in zip(*(x.split(BLOCK) for x in (*sample, whole)), strict=True):
            k, b = k[:, left], b[:, left]
            moved = (attention(q, k, b) - before)[:, None] + output_shifts(attention, q, k, b)
            errors += moved.double().square().sum((0, 2))
        order = errors.masked_fill(own[left], torch.inf).argsort()
        count = min(max(1, int(SHARE * len(left))), len(left) - fewest)
        places = torch.arange(count, dtype=torch.float64, device=keys.device)
        scores[left[order[:count]]] = rounds + places / count
        left = left[order[count:]].sort().values
        rounds += 1
    scores[left] = rounds
    return scores


@torch.no_grad()
def window_statistics(detector: Any, clouds: Iterable[Tensor]) -> WindowStatistics:
    """What a detector's decoder sees in clouds, those without a point in its range left out.

    Args:
        detector: in evaluation mode, with ``pillar_encoder``, ``forward_pillars`` and ``head``.
        clouds: each (P, 5).
    """
    clouds = list(clouds)
    sample = -(-SAMPLE // max(1, len(clouds)))
    with WindowStatistics(detector.head.decoder, sample) as seen:
        for cloud in clouds:
            pillars = detector.pillar_encoder([cloud])
            if len(pillars.coords):
                detector.forward_pillars(pillars)
    return seen


def static_scores(window: LocalWindow, score: str, seed: int = 0) -> Tensor:
    """Scores (W,) that no frame changes.

    Args:
        window: of W cells.
        score: "distance", the nearest first, or "random".
        seed: of "random".

    Raises:
        ValueError: for another score.
    """
    cells = window.cells()
    if score == "distance":
        return -cells.double().norm(dim=1)
    if score != "random":
        raise ValueError(f"score: expected distance or random, got {score!r}")
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(len(cells), generator=draw, dtype=torch.float64)


def check_keep(window: LocalWindow, keep: int) -> None:
    """Raise ValueError unless the window can be cut down to ``keep`` cells."""
    window.check_prunable()
    count = len(window.cells())
    if not 1 <= keep <= count:
        raise ValueError(f"keep: expected 1..{count} offsets of the window, got {keep}")


def best_offsets(window: LocalWindow, scores: Tensor, keep: int) -> Tensor:
    """Offsets (keep, 2) y, x of the largest scores, the proposal's own cell always among them.

    Args:
        window: whose cells were scored.
        scores: (W,).
        keep: how many.

    Raises:
        ValueError: if ``keep`` is out of range, a score is not finite, or the window wraps.
    """
    check_keep(window, keep)
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("window scores: expected finite numbers, got NaN or infinity")
    cells = window.cells()
    scores = scores.masked_fill((cells == 0).all(1), torch.inf)
    return cells[scores.argsort(descending=True, stable=True)[:keep]]
