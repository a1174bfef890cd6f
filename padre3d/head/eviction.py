"""Which keys of the local window can go: how much each of them changes the attention's output.

For the weights a and the values v of a query, with the output o = sum_j a_j v_j, dropping key j and
renormalising the other weights moves the output by::

    o' - o = a_j / (1 - a_j) (o - v_j)

Its length is the eviction error of CAOTE (Goel et al., 2025), which ranks keys by it instead of by
their weights alone: a key of a large weight whose value is that of the others costs nothing. A key
of the window is dropped from all heads at once, so here the length is taken behind the output
projection, where the heads' shifts add up.
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

SCORES = ("caote", "attention", "distance", "random")
MEASURED = ("caote", "attention")
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
    """Means over all queries that a decoder sees, for each key of its window.

    Attributes:
        queries, frames: how many were seen; ``frames`` counts the calls of the decoder.
    """

    def __init__(self, decoder: LocalDecoderLayer) -> None:
        self.decoder = decoder
        self.queries = self.frames = 0
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
            for name, value in zip(MEASURED, (errors, weights), strict=True):
                self._sums[name] = self._sums.get(name, 0.0) + value.double().sum(0)
        self.queries += len(inputs[0])
        self.frames += 1

    def scores(self, score: str) -> Tensor:
        """Mean (W,) of a score of :data:`MEASURED` over the queries.

        Raises:
            ValueError: if there was none.
        """
        if not self.queries:
            raise ValueError("window scores: expected a frame with a point in range, got none")
        return self._sums[score] / self.queries


@torch.no_grad()
def window_statistics(detector: Any, clouds: Iterable[Tensor]) -> WindowStatistics:
    """What a detector's decoder sees in clouds, those without a point in its range left out.

    Args:
        detector: in evaluation mode, with ``pillar_encoder``, ``forward_pillars`` and ``head``.
        clouds: each (P, 5).
    """
    with WindowStatistics(detector.head.decoder) as seen:
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
