"""Evaluation on a CPU in blocks of rows that stay in the cache, instead of passes over all rows.

A layer reads and writes (N, D) about twenty times. In blocks of 1 MiB all of that but one gather
and one scatter happens in the second-level cache. The modules and their order are those of the
plain form: only the rows they see at a time differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from padre3d.types import TokenLayout, TokenPositions

if TYPE_CHECKING:
    from padre3d.encoder import EncoderLayer
    from padre3d.mixers.padre import PADRe

BLOCK_BYTES = 1 << 20
# A mixer alone has fewer passes to save than a whole layer: larger pieces, for the outer cache and
# an allocator that keeps such sizes.
PIECE_BYTES = 4 << 20


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


def rows_per_block(x: Tensor, size: int | None = None) -> int:
    """Rows of x (..., D) that make a block of ``size`` bytes (BLOCK_BYTES)."""
    return max(1, (size or BLOCK_BYTES) // (x.shape[-1] * x.element_size()))


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """``(start, stop)`` of the blocks of ``count`` rows."""
    return ((start, min(count, start + size)) for start in range(0, count, size))


def map_rows(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)`` for a function of single rows that keeps the shape (N, D)."""
    out = torch.empty_like(inputs[0])
    for start, stop in spans(len(out), rows_per_block(out)):
        out[start:stop] = function(*(x[start:stop] for x in inputs))
    return out


def piece_length(x: Tensor, reach: int | None) -> int | None:
    """Tokens of x (G, L, D) to mix at a time where a token feels ``reach`` others to each side.

    None where the sequences are mixed whole: too short, too many, or reached from everywhere.
    """
    if reach is None or not applies(x):
        return None
    tokens = rows_per_block(x, PIECE_BYTES) // max(1, len(x))
    return tokens if x.shape[1] > 2 * tokens and tokens >= 16 * max(1, reach) else None


def mix_pieces(
    mixer: PADRe, x: Tensor, pos: Tensor | None, mask: Tensor | None, reach: int, length: int
) -> Tensor:
    """What ``mixer(x, pos, mask)`` computes on long sequences, ``length`` tokens at a time."""
    out: Tensor | None = None
    for start, stop in spans(x.shape[1], length):
        first = max(0, start - reach)
        around = slice(first, stop + reach)
        pieces = (None if t is None else t[:, around] for t in (pos, mask))
        mixed = mixer(x[:, around], *pieces)[:, start - first : stop - first]
        if out is None:
            out = mixed.new_empty((*x.shape[:2], mixed.shape[2]))
        out[:, start:stop] = mixed
    assert out is not None
    return out


def encode(
    layer: EncoderLayer, x: Tensor, layout: TokenLayout, pos: TokenPositions | None
) -> Tensor:
    """What ``layer(x, layout, pos)`` computes: features (N, D) -> (N, D)."""
    reach = getattr(layer.mixer, "reach", None)
    one_sequence_per_sample = layout.valid is None or layer.use_mask
    if reach is not None and one_sequence_per_sample and layout.index.shape[1] > rows_per_block(x):
        return _encode_sequences(layer, x, layout, pos, reach)
    mixed = _mix_whole(layer, x, layout, pos)
    out = torch.empty_like(x)
    for start, stop in spans(len(x), rows_per_block(x)):
        of_tokens = mixed.index_select(0, layout.slot[start:stop])
        out[start:stop] = layer.after_mixer(x[start:stop], of_tokens)
    return out


def _encode_sequences(
    layer: EncoderLayer, x: Tensor, layout: TokenLayout, pos: TokenPositions | None, reach: int
) -> Tensor:
    """Long sequences in pieces; a piece is mixed with the ``reach`` tokens on its two sides."""
    out = torch.empty_like(x)
    for g, index in enumerate(layout.index):
        count = len(index) if layout.valid is None else int(layout.valid[g].sum())
        for start, stop in spans(count, rows_per_block(x)):
            first = max(0, start - reach)
            pillars = index[first : min(count, stop + reach)]
            tokens = x.index_select(0, pillars)
            mixed = layer.mixer(tokens[None], None if pos is None else pos.of(pillars)[None])
            own = slice(start - first, stop - first)
            out.index_copy_(0, pillars[own], layer.after_mixer(tokens[own], mixed[0, own]))
    return out


def _mix_whole(
    layer: EncoderLayer, x: Tensor, layout: TokenLayout, pos: TokenPositions | None
) -> Tensor:
    """The mixer on all tokens, as (G * L, D): whole sequences or sets, as many as fill a block."""
    groups, length = layout.index.shape
    out = x.new_empty((groups * length, x.shape[1]))
    for start, stop in spans(groups, max(1, rows_per_block(x) // length)):
        index = layout.index[start:stop]
        mask = layout.valid[start:stop] if layer.use_mask and layout.valid is not None else None
        tokens = x.index_select(0, index.flatten()).unflatten(0, index.shape)
        mixed = layer.mixer(tokens, None if pos is None else pos.of(index), mask)
        out[start * length : stop * length] = mixed.flatten(0, 1)
    return out
