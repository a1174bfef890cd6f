"""Evaluation on a CPU in chunks of rows that stay in the cache, instead of passes over all rows.

A layer reads and writes (N, D) about twenty times. In chunks of 1 MiB all of that but one gather
and one scatter happens in the second-level cache. The modules and their order are those of the
plain form: only the rows they see at a time differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from padre3d.structures.tokens import TokenLayout, TokenPositions

Mix = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]

CHUNK_BYTES = 1 << 20
# A mixer alone has fewer passes to save than a whole layer: larger chunks, for the outer cache and
# an allocator that keeps such sizes.
MIXER_CHUNK_BYTES = 4 << 20


def applies(x: Tensor) -> bool:
    """Whether x is evaluated on a CPU, eagerly: no gradient, tracing, counting or autocast."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not is_in_torch_dispatch_mode()
    )


def rows_per_chunk(x: Tensor, size: int | None = None) -> int:
    """Rows of x (..., D) that make a chunk of ``size`` bytes (CHUNK_BYTES)."""
    return max(1, (size or CHUNK_BYTES) // (x.shape[-1] * x.element_size()))


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """``(start, stop)`` of the chunks of ``count`` rows."""
    return ((start, min(count, start + size)) for start in range(0, count, size))


def map_rows(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)`` for a function of single rows that keeps the shape (N, D)."""
    out = torch.empty_like(inputs[0])
    for start, stop in spans(len(out), rows_per_chunk(out)):
        out[start:stop] = function(*(x[start:stop] for x in inputs))
    return out


def chunk_length(x: Tensor, radius: int | None) -> int | None:
    """Tokens of x (G, L, D) to mix at a time with a receptive field of ``radius`` to each side.

    None where sequences are mixed whole: too short, too many, or a receptive field without bound.
    """
    if radius is None or not applies(x):
        return None
    tokens = rows_per_chunk(x, MIXER_CHUNK_BYTES) // max(1, len(x))
    return tokens if x.shape[1] > 2 * tokens and tokens >= 16 * max(1, radius) else None


def mix_chunks(
    mix: Mix, x: Tensor, pos: Tensor | None, mask: Tensor | None, radius: int, length: int
) -> Tensor:
    """What ``mix(x, pos, mask)`` computes on long sequences, ``length`` tokens at a time.

    A chunk is mixed with a halo of ``radius`` tokens on its two sides.
    """
    out: Tensor | None = None
    for start, stop in spans(x.shape[1], length):
        first = max(0, start - radius)
        around = slice(first, stop + radius)
        chunks = (None if t is None else t[:, around] for t in (pos, mask))
        mixed = mix(x[:, around], *chunks)[:, start - first : stop - first]
        if out is None:
            out = mixed.new_empty((*x.shape[:2], mixed.shape[2]))
        out[:, start:stop] = mixed
    assert out is not None
    return out


@dataclass(frozen=True)
class LayerFunctions:
    """An encoder layer as the chunks call it.

    Attributes:
        mix: the mixer, ``(tokens, pos, mask) -> mixed tokens``.
        finish: the rest of the layer row by row, ``(x, mixed) -> out``, all (n, D).
        use_mask: whether the mixer is told which tokens are valid.
        receptive_radius: of the mixer; None mixes whole sequences or sets.
    """

    mix: Mix
    finish: Callable[[Tensor, Tensor], Tensor]
    use_mask: bool
    receptive_radius: int | None


def encode(
    layer: LayerFunctions, x: Tensor, layout: TokenLayout, pos: TokenPositions | None
) -> Tensor:
    """An encoder layer on features (N, D) -> (N, D), chunk by chunk."""
    one_sequence_per_sample = layout.valid is None or layer.use_mask
    if (
        layer.receptive_radius is not None
        and one_sequence_per_sample
        and layout.index.shape[1] > rows_per_chunk(x)
    ):
        return _encode_sequences(layer, x, layout, pos, layer.receptive_radius)
    mixed = _mix_whole(layer, x, layout, pos)
    out = torch.empty_like(x)
    for start, stop in spans(len(x), rows_per_chunk(x)):
        of_tokens = mixed.index_select(0, layout.slot[start:stop])
        out[start:stop] = layer.finish(x[start:stop], of_tokens)
    return out


def _encode_sequences(
    layer: LayerFunctions, x: Tensor, layout: TokenLayout, pos: TokenPositions | None, radius: int
) -> Tensor:
    """Long sequences in chunks, each with its halo."""
    out = torch.empty_like(x)
    for g, index in enumerate(layout.index):
        count = len(index) if layout.valid is None else int(layout.valid[g].sum())
        for start, stop in spans(count, rows_per_chunk(x)):
            first = max(0, start - radius)
            pillars = index[first : min(count, stop + radius)]
            tokens = x.index_select(0, pillars)
            mixed = layer.mix(tokens[None], None if pos is None else pos.of(pillars)[None], None)
            own = slice(start - first, stop - first)
            out.index_copy_(0, pillars[own], layer.finish(tokens[own], mixed[0, own]))
    return out


def _mix_whole(
    layer: LayerFunctions, x: Tensor, layout: TokenLayout, pos: TokenPositions | None
) -> Tensor:
    """The mixer on all tokens, as (G * L, D): whole sequences or sets, as many as fill a chunk."""
    groups, length = layout.index.shape
    out = x.new_empty((groups * length, x.shape[1]))
    for start, stop in spans(groups, max(1, rows_per_chunk(x) // length)):
        index = layout.index[start:stop]
        mask = layout.valid[start:stop] if layer.use_mask and layout.valid is not None else None
        tokens = x.index_select(0, index.flatten()).unflatten(0, index.shape)
        mixed = layer.mix(tokens, None if pos is None else pos.of(index), mask)
        out[start * length : stop * length] = mixed.flatten(0, 1)
    return out
