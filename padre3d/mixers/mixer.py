"""The contract of a token mixer, and what every mixer does with its inputs first."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from padre3d.checks import check_mask, check_shape
from padre3d.ops.padre.weights import PadreWeights

# sequence: all pillars of a sample in one order; set: DSVT's sets of a fixed number of slots;
# grid: the pillars where they lie, (1, N, D) for all samples; image: a full H x W image of tokens,
# which the backbone of pillars does not have.
LAYOUTS = ("sequence", "set", "grid", "image")


class OutputMap(NamedTuple):
    """The dense map that a mixer ends in, ``features @ weight + bias``, as views of its parameters.

    Attributes:
        weight: (F, D).
        bias: (D,).
    """

    weight: Tensor
    bias: Tensor


class Mixer(nn.Module):
    """A module that mixes tokens: ``mixer(x, pos=None, mask=None)``, (G, L, D) -> (G, L, D).

    A masked token influences no real token; the output at masked tokens is arbitrary but finite.
    A mixer of the layout "grid" takes a fourth argument, the tokens'
    :class:`~padre3d.structures.grid_index.GridIndex`: ``mixer(x, pos, mask, index)``.

    The backbone and the chunked evaluation ask a mixer for what is declared here and nothing else.
    A new mixer is one file with a subclass and one line in :data:`padre3d.mixers.MIXERS`.

    Attributes:
        dim: channels D.
        layout: one of :data:`LAYOUTS`, the layout of tokens it is made for.
        repeats_are_tokens: whether the repeated slots of a set are tokens of their own, as a
            convolution over the set's slots needs; attention masks them.
        sees_all_tokens: whether every token sees every other one wherever it stands, as in
            attention; a class token then needs no place of its own.
        knows_order: whether the order of the tokens changes the result; attention learns of it
            from ``pos`` alone.
        ends_in: name of the ``nn.Linear`` whose output is the mixer's, token by token; None if
            there is none.
    """

    dim: int
    layout: str = "sequence"
    repeats_are_tokens: bool = True
    sees_all_tokens: bool = False
    knows_order: bool = True
    ends_in: str | None = None

    @property
    def is_causal(self) -> bool:
        """Whether a token influences itself and later tokens only."""
        return False

    @property
    def receptive_radius(self) -> int | None:
        """Tokens to each side that influence a token; None if that has no bound along the order."""
        return None

    @property
    def has_fused_layer(self) -> bool:
        """Whether a whole encoder layer with this mixer runs in fused kernels."""
        return False

    @property
    def tries_fused_layer(self) -> bool:
        """Whether the layer is fused where a trial on its device finds that better."""
        return False

    def fused_weights(self) -> PadreWeights:
        """The weights those kernels take; only asked of a mixer that has or tries them."""
        raise NotImplementedError(f"{type(self).__name__} has no fused layer")

    @property
    def output_map(self) -> OutputMap | None:
        """The map that every token's output ends in; None if nothing at the end is dense."""
        if self.ends_in is None:
            return None
        last = self.get_submodule(self.ends_in)
        assert isinstance(last, nn.Linear)
        return OutputMap(last.weight.t(), last.bias)

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (G, L, D) -> (G, L, D); pos (G, L, D), mask (G, L) bool, True for real tokens."""
        raise NotImplementedError


def check_mixer_inputs(x: Tensor, pos: Tensor | None, mask: Tensor | None, dim: int) -> None:
    """Check x (G, L, dim), pos (G, L, dim) or None and mask (G, L) bool or None.

    Raises:
        ValueError: names the tensor, the expected shape or type and what came.
    """
    check_shape(x, f"G L {dim}", name="mixer x")
    if pos is not None and pos.shape != x.shape:
        raise ValueError(f"mixer pos: expected shape {tuple(x.shape)}, got {tuple(pos.shape)}")
    if mask is not None:
        check_mask(mask, *x.shape[:2], name="mixer mask")


def with_position(x: Tensor, pos: Tensor | None) -> Tensor:
    """``x + pos`` where there is a position embedding."""
    return x if pos is None else x + pos


def zero_masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero the masked tokens of x (G, L, D), whatever they hold (NaN included)."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
