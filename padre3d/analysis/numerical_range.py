"""How large |Z_i| grows with the degree, per basis and normalisation, and what float16 makes of it.

Section 5 of the paper leaves open why accuracy saturates beyond degree 3, suspects the numerical
stability of monomials and suggests orthogonal polynomials. This measures the premise: unit-normal
tokens go through Eqs. 1-3 in float64 and in float16. ``python -m padre3d.analysis.numerical_range``
prints the table of docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from padre3d.ops.padre import PadreWeights, Pointwise
from padre3d.ops.padre.eager import linear_terms, recurrence
from padre3d.ops.padre.weights import BASES


@dataclass(frozen=True)
class RangeRow:
    """Z_i of one degree.

    Attributes:
        degree: i.
        largest: max |Z_i| in float64.
        rms: root mean square of Z_i in float64.
        overflow: share of entries that are not finite in float16.
        underflow: share of entries below float16's normal range, where digits are lost.
        error: relative root mean square error of float16 against float64; NaN after an overflow.
    """

    degree: int
    largest: float
    rms: float
    overflow: float
    underflow: float
    error: float


def measure(
    basis: str,
    normalise: str | None,
    degree: int = 12,
    factors: str = "equal",
    tokens: int = 4096,
    channels: int = 64,
    seed: int = 0,
) -> list[RangeRow]:
    """One row per degree 1..``degree``.

    Args:
        basis: see :class:`padre3d.ops.padre.PadreWeights`.
        normalise: normalisation of the Y_i.
        degree: the highest degree.
        factors: "equal" (all Y_i = X, so that Z_i is the basis polynomial itself) or "independent"
            (each Y_i = X B_i with a random B_i of unit gain, as at the start of training).
        tokens: N of the random input.
        channels: D of the random input.
        seed: of the random numbers.

    Raises:
        ValueError: for unknown ``factors``.
    """
    if factors not in ("equal", "independent"):
        raise ValueError(f"factors: expected 'equal' or 'independent', got {factors!r}")
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = normal(1, tokens, channels)
    maps = tuple(
        Pointwise(normal(channels, channels) / channels**0.5) if factors == "independent" else None
        for _ in range(degree)
    )
    steps = (None,) * (degree - 1)
    weights = PadreWeights((None,) * degree, maps, steps, steps, normalise=normalise, basis=basis)
    ys = linear_terms(x, weights, None)
    exact = recurrence(ys, weights, None)
    low = recurrence([y.half() for y in ys], weights, None)
    return [_row(i, z, z_low) for i, (z, z_low) in enumerate(zip(exact, low, strict=True), start=1)]


def _row(degree: int, exact: Tensor, low: Tensor) -> RangeRow:
    finite = low.isfinite()
    rms = exact.square().mean().sqrt()
    error = (low.double() - exact).square().mean().sqrt() / rms
    return RangeRow(
        degree=degree,
        largest=exact.abs().max().item(),
        rms=rms.item(),
        overflow=1 - finite.double().mean().item(),
        underflow=(exact.abs() < torch.finfo(torch.float16).tiny).double().mean().item(),
        error=error.item() if bool(finite.all()) else float("nan"),
    )


def table(degrees: tuple[int, ...] = (2, 4, 6, 8, 12)) -> str:
    """The measurements as a Markdown table: largest and typical |Z_i|, and what float16 loses."""
    lines = [
        "| factors | normalised | basis | "
        + " | ".join(f"max / rms, d = {d}" for d in degrees)
        + " | float16 |",
        "|---" * (len(degrees) + 4) + "|",
    ]
    for factors in ("equal", "independent"):
        for normalise in (None, "rms", "max"):  # "layer" behaves as "rms"
            for basis in BASES:
                rows = measure(basis, normalise, max(degrees), factors)
                cells = [f"{rows[d - 1].largest:.2g} / {rows[d - 1].rms:.2g}" for d in degrees]
                name = normalise or "no"
                lines.append(
                    f"| {factors} | {name} | {basis} | {' | '.join(cells)} | {_verdict(rows)} |"
                )
    return "\n".join(lines)


def _verdict(rows: list[RangeRow]) -> str:
    first = next((row.degree for row in rows if row.overflow), None)
    if first is not None:
        return f"overflows from d = {first}"
    last = rows[-1]
    return f"d = {last.degree}: {last.underflow:.0%} below normal, error {last.error:.1e}"


if __name__ == "__main__":
    print(table())
