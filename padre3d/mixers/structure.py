"""Which map stands at which place of Eqs. 1-7: the structure of a PADRe instance, without weights.

A spec says what kind of map it is and how large; :class:`PadreStructure` puts specs at A_i, B_i,
C_i, D_i, U and V. The presets are functions of the degree d and the kernel size k. With a dense
channel maps, b depthwise convolutions of T taps (T = k in 1-D, k^2 in 2-D, 2 k if separable), all
with a bias, and N tokens of D channels, every preset has

    parameters = a D^2 + b T D + (a + b) D
    MACs       = N (a D^2 + b T D)

| preset | dense maps a | convolutions b | d = 2 | d = 3 | d = 4 |
|---|---|---|---|---|---|
| paper | 2d - 1 | 1 if d = 2, else 2d - 2 | 3, 1 | 5, 4 | 7, 6 |
| text | 2d - 1 | 2d - 1 | 3, 3 | 5, 5 | 7, 7 |
| sequence | d + 1 | d - 1 | 3, 1 | 4, 2 | 5, 3 |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from padre3d.checks import check_choice, check_count
from padre3d.ops.padre.weights import BASES, NORMALISATIONS


@dataclass(frozen=True)
class Dense:
    """A dense N x N token map; fixes the number of tokens."""

    tokens: int

    def __post_init__(self) -> None:
        check_count("Dense.tokens", self.tokens, 1)


@dataclass(frozen=True)
class LowRank:
    """A token map of rank ``rank`` over ``tokens`` tokens; a channel map if that is None."""

    rank: int
    tokens: int | None = None

    def __post_init__(self) -> None:
        check_count("LowRank.rank", self.rank, 1)
        if self.tokens is not None:
            check_count("LowRank.tokens", self.tokens, 1)


@dataclass(frozen=True)
class Conv:
    """A convolution over tokens; ``groups`` None is depthwise.

    ``dims`` is 1 for sequences, 2 for images and for the occupied cells of a grid. In 2-D,
    ``dilation`` cells lie between two taps, and ``separable`` stands for k x 1 followed by 1 x k.
    ``causal``, in 1-D, looks back only. ``block`` > 0, on a grid, adds a depthwise 3 x 3
    convolution over the means of blocks of ``block`` x ``block`` cells: a receptive field of three
    blocks for nine more weights per channel.
    """

    kernel_size: int
    dims: int = 1
    groups: int | None = None
    dilation: int = 1
    separable: bool = False
    causal: bool = False
    block: int = 0

    def __post_init__(self) -> None:
        if check_count("Conv.kernel_size", self.kernel_size, 1) % 2 == 0:
            raise ValueError(f"Conv.kernel_size: expected an odd number, got {self.kernel_size}")
        if check_count("Conv.dims", self.dims, 1) > 2:
            raise ValueError(f"Conv.dims: expected 1 or 2, got {self.dims!r}")
        if self.groups is not None:
            check_count("Conv.groups", self.groups, 1)
        check_count("Conv.dilation", self.dilation, 1)
        if self.dims == 1 and (self.dilation > 1 or self.separable):
            raise ValueError(
                "Conv: expected dims=2 with a dilation or a separable kernel, got dims=1, "
                f"dilation={self.dilation}, separable={self.separable}"
            )
        if self.separable and self.groups is not None:
            raise ValueError(
                f"Conv.groups: expected None (depthwise) if separable, got {self.groups}"
            )
        if check_count("Conv.block", self.block, 0) and (self.dims == 1 or self.groups is not None):
            raise ValueError(
                "Conv.block: expected 0 unless dims=2 and depthwise (groups=None), got "
                f"block={self.block}, dims={self.dims}, groups={self.groups}"
            )
        if self.causal and self.dims != 1:
            raise ValueError(f"Conv.causal: expected dims=1, got dims={self.dims}")

    @property
    def kernels(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of the kernels that are applied one after the other."""
        if self.separable:
            return (self.kernel_size, 1), (1, self.kernel_size)
        return ((self.kernel_size,) * self.dims,)

    @property
    def taps(self) -> int:
        """Weights per channel and channel of its group, and products per token, without blocks."""
        return sum(math.prod(kernel) for kernel in self.kernels)


@dataclass(frozen=True)
class Linear:
    """A dense channel map D x D (a pointwise convolution) with a bias."""


TokenSpec = Dense | LowRank | Conv | None
ChannelSpec = Linear | LowRank | None


@dataclass(frozen=True)
class PadreStructure:
    """Specs of all maps, named as in :class:`padre3d.ops.padre.PadreWeights`; None is the identity.

    ``w`` and ``l`` say how much of Eq. 6 is learned: W absent (None), "scalar" per degree or
    "channel"; L absent (None) or "channel". Weights per token need a fixed number of tokens and are
    left to the operator.
    """

    a: tuple[TokenSpec, ...]
    b: tuple[ChannelSpec, ...]
    c: tuple[TokenSpec, ...] = ()
    d: tuple[ChannelSpec, ...] = ()
    terms: tuple[int, ...] | None = None
    w: str | None = None
    l: str | None = None  # noqa: E741  (the paper's name)
    u: TokenSpec = None
    v: ChannelSpec = None
    normalise: str | None = None
    basis: str = "monomial"

    def __post_init__(self) -> None:
        if self.w not in (None, "scalar", "channel"):
            raise ValueError(f"w: expected None, 'scalar' or 'channel', got {self.w!r}")
        if self.l not in (None, "channel"):
            raise ValueError(f"l: expected None or 'channel', got {self.l!r}")
        check_choice("normalise", self.normalise, NORMALISATIONS)
        check_choice("basis", self.basis, BASES)
        degree = len(self.a)
        lengths = (degree, len(self.b), len(self.c), len(self.d))
        if degree < 1 or lengths != (degree, degree, degree - 1, degree - 1):
            raise ValueError(
                f"PadreStructure: expected d, d, d-1, d-1 specs a, b, c, d with d >= 1, got "
                f"{lengths}"
            )
        if self.terms is not None and not set(self.terms) <= set(range(1, degree + 1)):
            raise ValueError(f"terms: expected degrees in 1..{degree}, got {self.terms}")

    @property
    def degree(self) -> int:
        """The degree d of the polynomial."""
        return len(self.a)


def token_dims(structure: PadreStructure) -> int:
    """2 where any convolution of the structure is over an image, else 1."""
    return 2 if any(conv.dims == 2 for conv in token_convolutions(structure)) else 1


def token_convolutions(structure: PadreStructure) -> list[Conv]:
    """The convolutions over tokens."""
    return [s for s in (*structure.a, *structure.c, structure.u) if isinstance(s, Conv)]


def paper(degree: int, kernel_size: int = 11, dims: int = 1, **conv_options: Any) -> PadreStructure:
    """The instance whose parameters and FLOPs the paper prints (Tables 2, 4 and 6).

    d = 2: ``P = [A_1 (X B_1) D_1] * (X B_2)``. d >= 3: every A_i, B_i and D_i, and C_i for i >= 2.
    The sum starts at degree 2 (section 4.1). a = 2d - 1 dense maps; b = 1, 4, 6 convolutions for
    d = 2, 3, 4 (2d - 2 from 3 on): 51,072, 88,704, 124,800 parameters at D = 128, k = 11, 1-D.
    """
    conv, dense = Conv(kernel_size, dims, **conv_options), Linear()
    a: tuple[TokenSpec, ...] = (conv, None) if degree == 2 else (conv,) * degree
    return PadreStructure(
        a=a,
        b=(dense,) * degree,
        c=(None,) + (conv,) * (degree - 2),
        d=(dense,) * (degree - 1),
        terms=tuple(range(2, degree + 1)),
    )


def text(degree: int, kernel_size: int = 11, dims: int = 1, **conv_options: Any) -> PadreStructure:
    """Section 4.1 read literally: every A_i, B_i, C_i and D_i present, the sum from degree 2.

    a = b = 2d - 1: 54,144, 90,240, 126,336 parameters at D = 128, k = 11, 1-D for d = 2, 3, 4.
    """
    conv, dense = Conv(kernel_size, dims, **conv_options), Linear()
    return PadreStructure(
        a=(conv,) * degree,
        b=(dense,) * degree,
        c=(conv,) * (degree - 1),
        d=(dense,) * (degree - 1),
        terms=tuple(range(2, degree + 1)),
    )


def sequence(
    degree: int, kernel_size: int = 11, dims: int = 1, **conv_options: Any
) -> PadreStructure:
    """Our default, meant for one long sequence of voxels: the cheapest chain that keeps Eqs. 1-7.

    ``Y_i = X B_i``, ``Z_{i+1} = (C_i Z_i) * Y_{i+1}``, ``O = (Z_2 + .. + Z_d) V``. Each
    degree adds one dense map and one convolution. No A_i and no D_i: C_i already mixes tokens
    between any two factors, and V mixes channels once for all degrees, after the sum. The d maps
    B_i act on the same input, so they can be one matrix product. a = d + 1, b = d - 1:
    51,072, 69,120, 87,168 parameters at D = 128, k = 11, 1-D for d = 2, 3, 4; d = 2 costs exactly
    what ``paper`` costs.
    """
    dense = Linear()
    return PadreStructure(
        a=(None,) * degree,
        b=(dense,) * degree,
        c=(Conv(kernel_size, dims, **conv_options),) * (degree - 1),
        d=(None,) * (degree - 1),
        terms=tuple(range(2, degree + 1)),
        v=dense,
    )


PRESETS = {"paper": paper, "text": text, "sequence": sequence}


def preset(
    name: str, degree: int, kernel_size: int = 11, dims: int = 1, **conv_options: Any
) -> PadreStructure:
    """The structure of a preset by name; ``conv_options`` are further fields of :class:`Conv`.

    Raises:
        ValueError: for an unknown name, or a degree below 2: the presets sum from degree 2.
    """
    if name not in PRESETS:
        raise ValueError(f"PADRe preset: expected one of {sorted(PRESETS)}, got {name!r}")
    check_count("PADRe degree", degree, 2)
    return PRESETS[name](degree, kernel_size, dims, **conv_options)
