"""The weights of one PADRe instance: which map stands at which place of Eqs. 1-7."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from padre3d.ops.padre.maps import (
    ChannelMap,
    TokenBlockConv,
    TokenChain,
    TokenConv1d,
    TokenConv2d,
    TokenGridConv,
    TokenMap,
    TokenSum,
)

BASES = ("monomial", "chebyshev", "legendre")
NORMALISATIONS = (None, "rms", "layer", "max")


@dataclass(frozen=True)
class PadreWeights:
    """The weights of Eqs. 1-7; a map that is ``None`` is the identity.

    Attributes:
        a: token maps A_1..A_d.
        b: channel maps B_1..B_d.
        c: token maps C_1..C_{d-1}.
        d: channel maps D_1..D_{d-1}.
        terms: the degrees that enter the sum of Eq. 6; ``None`` means 1..d. Section 4.1 sums 2..d,
            because the skip connection around the mixer already is a degree-1 term.
        w: W, of shape (d,), (d, D) or (d, N, D); ``None`` means ones.
        l: the degree-0 term L, of shape (D,) or (N, D).
        u: token map U of Eq. 7.
        v: channel map V of Eq. 7.
        normalise: normalisation of each Y_i over its channels (section 3.3): None, "rms" (divide by
            the root mean square), "layer" (subtract the mean first) or "max" (divide by the largest
            magnitude: into [-1, 1], where the orthogonal bases are bounded).
        basis: "monomial" is Eq. 3; "chebyshev" and "legendre" use the three-term recurrence of
            these polynomials (section 5, open question), see :func:`eager.recurrence`.
    """

    a: tuple[TokenMap | None, ...]
    b: tuple[ChannelMap | None, ...]
    c: tuple[TokenMap | None, ...] = ()
    d: tuple[ChannelMap | None, ...] = ()
    terms: tuple[int, ...] | None = None
    w: Tensor | None = None
    l: Tensor | None = None  # noqa: E741  (the paper's name)
    u: TokenMap | None = None
    v: ChannelMap | None = None
    normalise: str | None = None
    basis: str = "monomial"

    @property
    def degree(self) -> int:
        """The degree d of the polynomial."""
        return len(self.a)

    def __post_init__(self) -> None:
        degree = len(self.a)
        lengths = (len(self.a), len(self.b), len(self.c), len(self.d))
        if degree < 1 or lengths != (degree, degree, degree - 1, degree - 1):
            raise ValueError(
                f"PadreWeights: expected d, d, d-1, d-1 maps a, b, c, d with d >= 1, got {lengths}"
            )
        if any(not 1 <= i <= degree for i in self.terms or ()) or self.terms == ():
            raise ValueError(
                f"PadreWeights.terms: expected degrees in 1..{degree}, got {self.terms}"
            )
        if self.normalise not in NORMALISATIONS:
            raise ValueError(f"normalise: expected one of {NORMALISATIONS}, got {self.normalise!r}")
        if self.basis not in BASES:
            raise ValueError(f"basis: expected one of {BASES}, got {self.basis!r}")
        for token_map in (*self.a, *self.c, self.u):
            _check_kernels(token_map)


def _check_kernels(token_map: TokenMap | None) -> None:
    name, dims = type(token_map).__name__, 1 if isinstance(token_map, TokenConv1d) else 2
    if isinstance(token_map, (TokenChain, TokenSum)):
        for factor in token_map.maps:
            _check_kernels(factor)
    if isinstance(token_map, (TokenConv1d, TokenConv2d, TokenGridConv, TokenBlockConv)):
        sizes = tuple(token_map.weight.shape[2:])
        if len(sizes) != dims or any(k % 2 == 0 for k in sizes):
            raise ValueError(f"{name}.weight: expected odd kernel sizes, got {sizes}")
    if isinstance(token_map, (TokenGridConv, TokenBlockConv)) and token_map.weight.shape[1] != 1:
        shape = tuple(token_map.weight.shape)
        raise ValueError(f"{name}.weight: expected depthwise (D, 1, k, k), got {shape}")
