"""The closed form: a mixer's last dense map by ridge regression on what enters it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from padre3d.mixers.mixer import OutputMap


class LeastSquares:
    """Weight W and bias b that minimise ``sum |F W + b - M|^2 + ridge s |W|^2``.

    s is the mean of the diagonal of ``F^T F`` over the features, so that ``ridge`` has no unit; the
    bias is not drawn to zero. The normal equations are summed in float64, frame by frame, in the
    memory of (F + 1) (F + 1 + D) numbers.

    Args:
        features: columns F.
        outputs: columns D.
    """

    def __init__(self, features: int, outputs: int) -> None:
        self.gram = torch.zeros(features + 1, features + 1, dtype=torch.float64)
        self.moment = torch.zeros(features + 1, outputs, dtype=torch.float64)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Rows (N, F) and what they should become (N, D)."""
        rows = torch.nn.functional.pad(features.double(), (0, 1), value=1.0)
        self.gram += (rows.t() @ rows).cpu()
        self.moment += (rows.t() @ targets.double()).cpu()

    @property
    def rows(self) -> int:
        """How many were added."""
        return int(self.gram[-1, -1])

    def solve(self, ridge: float = 0.0) -> tuple[Tensor, Tensor]:
        """Weight (F, D) and bias (D,), float64; of several solutions the smallest."""
        count = len(self.gram) - 1
        penalty = torch.zeros(count + 1, dtype=torch.float64)
        penalty[:count] = ridge * self.gram.diagonal()[:count].mean()
        system = self.gram + penalty.diag()
        found = torch.linalg.lstsq(system, self.moment, driver="gelsd").solution
        return found[:count], found[count]

    def state_dict(self) -> dict[str, Tensor]:
        """The sums so far."""
        return {"gram": self.gram, "moment": self.moment}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from sums of :meth:`state_dict`."""
        self.gram, self.moment = state["gram"].clone(), state["moment"].clone()


@torch.no_grad()
def read_features(last: OutputMap, mix: Callable[[], Tensor]) -> Tensor:
    """What enters the last map of a mixer, read through the map itself.

    With the identity in place of the map the mixer's output is the map's input, whatever computes
    the mixer; a map with more inputs than outputs shows them some at a time.

    Args:
        last: of :attr:`padre3d.mixers.mixer.Mixer.output_map`.
        mix: runs the mixer, gives (..., D).

    Returns:
        (..., F).
    """
    features, outputs = last.weight.shape
    parts = []
    for start in range(0, features, outputs):
        selector = torch.zeros_like(last.weight)
        taken = range(start, min(features, start + outputs))
        selector[list(taken), range(len(taken))] = 1.0
        with _in_place_of(last, selector):
            parts.append(mix()[..., : len(taken)])
    return torch.cat(parts, -1)


@torch.no_grad()
def write_map(last: OutputMap, weight: Tensor, bias: Tensor) -> None:
    """Set the map to a weight (F, D) and a bias (D,)."""
    last.weight.copy_(weight)
    last.bias.copy_(bias)


@contextmanager
def _in_place_of(last: OutputMap, weight: Tensor) -> Iterator[None]:
    kept = last.weight.clone(), last.bias.clone()
    write_map(last, weight, torch.zeros_like(last.bias))
    try:
        yield
    finally:
        write_map(last, *kept)
