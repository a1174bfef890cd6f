"""Table 1 of the paper measured: the degree of each scheme, and the two approximations.

``python -m padre3d.analysis.table_1`` prints the table of docs/method.md. Everything is in float64
and without biases, as in the proofs of appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from padre3d.mixers import build_mixer
from padre3d.mixers.heads import Heads
from padre3d.mixers.set_attention import taylor_attention
from padre3d.mixers.sima import column_norms, sima
from padre3d.ops.selective_scan import selective_scan

DIM, TOKENS, STATES = 8, 15, 4
TAYLOR_DEGREES = (4, 7, 10, 13, 16, 19)
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Degree:
    """Evidence that a function is a polynomial of a degree.

    Attributes:
        scheme: as in Table 1.
        degree: n, the claim.
        homogeneity: largest ``|f(t x) - t^n f(x)| / |f(t x)|`` over t = -2, 0.5, 3.
        top: n-th difference along a random line over the largest value: not 0.
        above: the (n + 1)-th: 0.
    """

    scheme: str
    degree: int
    homogeneity: float
    top: float
    above: float


def measure_degree(scheme: str, degree: int, function: Function) -> Degree:
    """Homogeneity at one point and differences along one line, of tokens (2, TOKENS, DIM)."""
    x, start, direction = _normal(3, 2, TOKENS, DIM, seed=1)
    homogeneity = 0.0
    for t in (-2.0, 0.5, 3.0):
        scaled = function(t * x)
        error = (scaled - t**degree * function(x)).norm() / scaled.norm()
        homogeneity = max(homogeneity, error.item())
    values = [function(start + t * direction) for t in range(degree + 2)]
    size = max(v.norm().item() for v in values)
    top, above = (_difference(v).norm().item() / size for v in (values[:-1], values))
    return Degree(scheme, degree, homogeneity, top, above)


def polynomial_schemes() -> list[Degree]:
    """The schemes of Table 1 that are polynomials, and the control without the product."""
    with torch.no_grad():
        castling = _mixer("castling", num_heads=2, normalise=False)
        return [
            measure_degree("SimA", 3, _sima_with_fixed_norms()),
            measure_degree("Conv2Former", 2, _mixer("conv2former")),
            *(
                measure_degree(f"Hyena, N = {n}", n + 1, _mixer("hyena", order=n, form="equations"))
                for n in (1, 2, 3)
            ),
            measure_degree("Mamba at a fixed step", 3, _scan_at_fixed_step()),
            measure_degree("Castling-ViT", 3, castling),
            measure_degree("equal-cost control", 1, _mixer("conv_control", degree=3)),
        ]


def scan_errors(halvings: int = 5) -> list[float]:
    """Eqs. 64-70: largest error of Abar = I + Delta A, Bbar = Delta B as the step is halved.

    The output itself falls with Delta, because Bbar does: relative to it the error is O(Delta).
    """
    x, delta, a, b, c = _scan_problem()
    errors = []
    for n in range(halvings):
        step = 0.2 * 0.5**n * delta
        exact = selective_scan(x, step, a, b, c, "zoh")
        approximate = selective_scan(x, step, a, b, c, "euler")
        errors.append((approximate - exact).abs().max().item())
    return errors


def taylor_errors(degrees: tuple[int, ...] = TAYLOR_DEGREES) -> tuple[float, list[float]]:
    """Eqs. 81, 82: (largest logit, largest error of the output per degree of the series)."""
    q, k, v = _normal(3, 2, TOKENS, DIM, seed=0)
    logits = q @ k.transpose(1, 2) / math.sqrt(DIM)
    exact = logits.softmax(-1) @ v
    errors = [(taylor_attention(q, k, v, d) - exact).abs().max().item() for d in degrees]
    return logits.abs().max().item(), errors


def table() -> str:
    """The measurements as a Markdown table."""
    lines = ["| scheme | degree n | homogeneity | n-th difference | (n+1)-th |", "|---" * 5 + "|"]
    for row in polynomial_schemes():
        figures = f"{row.homogeneity:.1e} | {row.top:.1e} | {row.above:.1e}"
        lines.append(f"| {row.scheme} | {row.degree} | {figures} |")
    errors = scan_errors()
    ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(errors[:-1], errors[1:], strict=True))
    largest, taylor = taylor_errors()
    return "\n".join(
        [
            *lines,
            "",
            "Mamba, error at halved steps: " + ", ".join(f"{e:.1e}" for e in errors),
            f"its ratios: {ratios}",
            f"attention, logits up to {largest:.2f}, Taylor error at degree "
            + ", ".join(f"{d}: {e:.1e}" for d, e in zip(TAYLOR_DEGREES, taylor, strict=True)),
        ]
    )


def _normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _difference(values: list[Tensor]) -> Tensor:
    """The n-th forward difference of n + 1 equidistant values."""
    n = len(values) - 1
    terms = [(-1) ** (n - j) * math.comb(n, j) * v for j, v in enumerate(values)]
    return torch.stack(terms).sum(0)


def _mixer(name: str, **arguments: object) -> torch.nn.Module:
    """The mixer of that name without biases (those inside Hyena's filters are no input's bias)."""
    torch.manual_seed(0)
    mixer = build_mixer(dict(type=name, **arguments), DIM).double()
    for parameter_name, parameter in mixer.named_parameters():
        if parameter_name.endswith("bias") and "filters" not in parameter_name:
            parameter.data.zero_()
    return mixer


def _sima_with_fixed_norms() -> Function:
    heads: Heads = _mixer("sima", num_heads=2).heads  # type: ignore[assignment]
    project = partial(heads.project, pos=None, mask=None)
    q, k, _ = project(_normal(2, TOKENS, DIM, seed=0))
    norms = column_norms(q), column_norms(k)
    return lambda x: sima(*project(x), *norms)


def _scan_problem() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, steps in (0, 0.1), diagonal A in (-1.5, -0.5), B and C of 40 tokens."""
    generator = torch.Generator().manual_seed(0)
    x = _normal(2, 40, DIM, seed=2)
    delta = 0.1 * torch.rand(2, 40, DIM, generator=generator, dtype=torch.float64)
    a = -0.5 - torch.rand(DIM, STATES, generator=generator, dtype=torch.float64)
    b, c = _normal(2, 2, 40, STATES, seed=3)
    return x, delta, a, b, c


def _scan_at_fixed_step() -> Function:
    _, _, a, _, _ = _scan_problem()
    w_b, w_c = _normal(2, DIM, STATES, seed=4)
    return lambda x: selective_scan(x, torch.full_like(x, 0.05), a, x @ w_b, x @ w_c, "euler")


if __name__ == "__main__":
    print(table())
