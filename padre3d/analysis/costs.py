"""Parameters and multiply-accumulates (MACs) of one token mixer, in closed form.

MACs of the linear maps only; biases, Hadamard products and sums are counted apart because the
paper's Table 6 includes them once and its Table 4 does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from padre3d.mixers.structure import Conv, PadreStructure, preset


@dataclass(frozen=True)
class MixerCost:
    """Cost of one mixer.

    Attributes:
        parameters: weights and biases.
        macs: multiply-accumulates of the linear maps (and attention's two matrix products).
        pointwise: single operations per output element: biases, Hadamard products, sums.
    """

    parameters: int
    macs: int
    pointwise: int


def padre_cost(
    tokens: int,
    dim: int,
    degree: int = 2,
    name: str = "paper",
    kernel_size: int = 11,
    dims: int = 1,
    separable: bool = False,
    neighbours: int | None = None,
) -> MixerCost:
    """A PADRe preset: a D^2 + b T D + (a + b) D parameters, N (a D^2 + b T D) MACs.

    a dense maps and b depthwise convolutions of T = kernel_size^dims taps, 2 kernel_size if
    separable; see :mod:`padre3d.mixers.structure` for a and b of each preset. On a grid of
    occupied cells (dims = 2) ``neighbours`` is the number of pairs of a token and a token under a
    tap, of which a convolution has one product per channel: N a D^2 + b neighbours D MACs.
    """
    structure = preset(name, degree, kernel_size, dims, separable=separable)
    dense, convolutions = map_counts(structure)
    taps = Conv(kernel_size, dims, separable=separable).taps
    weights = dense * dim**2 + convolutions * taps * dim
    pairs = tokens * taps if neighbours is None else neighbours
    biases = dense + convolutions
    products, sums = degree - 1, len(structure.terms or ()) - 1
    return MixerCost(
        parameters=weights + biases * dim,
        macs=tokens * dense * dim**2 + convolutions * pairs * dim,
        pointwise=tokens * dim * (biases + products + sums),
    )


def map_counts(structure: PadreStructure) -> tuple[int, int]:
    """(dense channel maps, convolutions) of a structure made of these alone, as the presets are."""
    channel = [spec for spec in (*structure.b, *structure.d, structure.v) if spec is not None]
    token = [spec for spec in (*structure.a, *structure.c, structure.u) if spec is not None]
    return len(channel), len(token)


def attention_cost(tokens: int, dim: int, num_heads: int, sequences: int = 1) -> MixerCost:
    """Multi-head self-attention of each of ``sequences`` sequences of ``tokens`` tokens.

    4 D^2 + 4 D parameters; N (4 D^2 + 2 N D) MACs per sequence; ``pointwise`` counts the biases and
    two operations (scale, softmax) per entry of the h N x N matrices.
    """
    total = tokens * sequences
    return MixerCost(
        parameters=4 * dim**2 + 4 * dim,
        macs=total * (4 * dim**2 + 2 * tokens * dim),
        pointwise=4 * total * dim + 2 * num_heads * tokens * total,
    )
