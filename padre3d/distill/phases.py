"""The phases of the fit: the closed form, steps on each layer, steps on the whole stack.

All layers are fitted side by side: what enters a layer and what its mixer should make of it are the
teacher's, so no layer waits for another and one run of the teacher serves all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from padre3d.distill.errors import relative_square
from padre3d.distill.least_squares import LeastSquares, read_features, write_map
from padre3d.distill.pair import Pair
from padre3d.distill.trace import layer_calls, mix_each, trace
from padre3d.structures.pillars import Pillars

WARM_UP = 0.05


@dataclass(frozen=True)
class FitSettings:
    """What decides a fit beside the two models and the frames.

    Attributes:
        layer_steps: AdamW steps on the layers' mixers; one frame a step.
        stack_steps: AdamW steps on the states after the blocks.
        layer_rate, stack_rate: their peak learning rates.
        ridge: of the closed form, see :class:`LeastSquares`.
        clip_norm: largest norm of a group's gradient.
        seed: of the order of the frames and their augmentation.
    """

    layer_steps: int = 500
    stack_steps: int = 500
    layer_rate: float = 2e-3
    stack_rate: float = 1e-3
    ridge: float = 1e-6
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("layer_steps", "stack_steps", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        for name in ("layer_rate", "stack_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")


class Phase(ABC):
    """A number of steps, one cloud each; its state and the student's weights are all it knows.

    Args:
        pair: teacher and student.
        settings: of the fit.
        frames: number of clouds of one pass.
    """

    name: str

    def __init__(self, pair: Pair, settings: FitSettings, frames: int) -> None:
        self.pair, self.settings, self.frames = pair, settings, frames

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many."""

    @abstractmethod
    def step(self, number: int, pillars: Pillars) -> None:
        """Step ``number`` on the pillars of one cloud, at least one."""

    @abstractmethod
    def finish(self) -> None:
        """What is done after the last step."""

    @abstractmethod
    def state_dict(self) -> Any:
        """What a killed phase needs to go on, beside the student's weights."""

    @abstractmethod
    def load_state_dict(self, state: Any) -> None:
        """Go on from a state."""


class ClosedForm(Phase):
    """One pass that sums the normal equations of every mixer's last map, and then solves them."""

    name = "closed form"

    def __init__(self, pair: Pair, settings: FitSettings, frames: int) -> None:
        super().__init__(pair, settings, frames)
        self.systems: dict[int, LeastSquares] = {}
        for i, layer in enumerate(pair.layers):
            last = layer.mixer.output_map
            if last is not None:
                self.systems[i] = LeastSquares(*last.weight.shape)

    @property
    def steps(self) -> int:
        """A pass, if anything is linear at the end."""
        return self.frames if self.systems else 0

    @torch.no_grad()
    def step(self, number: int, pillars: Pillars) -> None:
        """Add one cloud."""
        wanted = trace(self.pair.teacher.backbone, pillars)
        student = self.pair.student.backbone
        calls = [c for of_block in layer_calls(student, student.plan(pillars)) for c in of_block]
        for i, system in self.systems.items():
            features = read_features(self._last(i), partial(calls[i].mix, wanted.inputs[i]))
            system.add(features, wanted.mixed[i])

    def finish(self) -> None:
        """Solve.

        Raises:
            ValueError: if no cloud had rows: the solution would be a map of zeros.
        """
        if not all(system.rows for system in self.systems.values()):
            raise ValueError("frames: expected some with two pillars or more, got none")
        for i, system in self.systems.items():
            write_map(self._last(i), *system.solve(self.settings.ridge))

    def _last(self, layer: int) -> Any:
        return self.pair.layers[layer].mixer.output_map

    def state_dict(self) -> dict[int, dict[str, Tensor]]:
        """The sums."""
        return {i: system.state_dict() for i, system in self.systems.items()}

    def load_state_dict(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Set the sums."""
        for i, system in self.systems.items():
            system.load_state_dict(state[i])


class ClosedFormAgain(ClosedForm):
    """The same after the steps, which have changed what enters the last maps."""

    name = "closed form again"


class _Steps(Phase):
    """AdamW with a warm-up and a cosine that ends at zero."""

    def __init__(self, pair: Pair, settings: FitSettings, frames: int) -> None:
        super().__init__(pair, settings, frames)
        self.groups = [group for group in self.parameters() if group]
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in self.groups], lr=self.rate, weight_decay=0.0
        )

    @property
    @abstractmethod
    def rate(self) -> float:
        """Peak learning rate."""

    @abstractmethod
    def parameters(self) -> Sequence[list[nn.Parameter]]:
        """Groups whose gradients are cut to ``clip_norm`` each."""

    @abstractmethod
    def loss(self, pillars: Pillars) -> Tensor:
        """A scalar."""

    def step(self, number: int, pillars: Pillars) -> None:
        """One step of the optimiser.

        Raises:
            ValueError: if the loss or a gradient is not finite.
        """
        share = (number + 1) / self.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(share / WARM_UP, 0.5 * (1 + math.cos(math.pi * share)))
        self.optimizer.zero_grad()
        with torch.enable_grad():
            loss = self.loss(pillars)
            loss.backward()
        norms = [nn.utils.clip_grad_norm_(group, self.settings.clip_norm) for group in self.groups]
        if not all(math.isfinite(float(value)) for value in (loss.detach(), *norms)):
            raise ValueError(
                f"{self.name}, step {number + 1}: expected a finite loss and gradient, got loss "
                f"{float(loss)}; a lower rate than {self.rate:g} may help"
            )
        self.optimizer.step()

    def finish(self) -> None:
        """Nothing is left to do."""

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the optimiser's."""
        self.optimizer.load_state_dict(state)


class LayerSteps(_Steps):
    """Each mixer on the teacher's input to its layer, towards the teacher's output of it."""

    name = "steps"

    @property
    def steps(self) -> int:
        """As asked for."""
        return self.settings.layer_steps

    @property
    def rate(self) -> float:
        """As asked for."""
        return self.settings.layer_rate

    def parameters(self) -> list[list[nn.Parameter]]:
        """Each layer by itself."""
        return [self.pair.of_layer(i) for i in range(len(self.pair.layers))]

    def loss(self, pillars: Pillars) -> Tensor:
        """Sum of the layers' relative square errors."""
        with torch.no_grad():
            wanted = trace(self.pair.teacher.backbone, pillars)
        found = mix_each(self.pair.student.backbone, pillars, wanted.inputs)
        return _sum_of_errors(found, wanted.mixed)


class StackSteps(_Steps):
    """All mixers together, on the student's own states, towards the teacher's after every block."""

    name = "stack"

    @property
    def steps(self) -> int:
        """As asked for."""
        return self.settings.stack_steps

    @property
    def rate(self) -> float:
        """As asked for."""
        return self.settings.stack_rate

    def parameters(self) -> list[list[nn.Parameter]]:
        """Everything that may change."""
        return [self.pair.trained()]

    def loss(self, pillars: Pillars) -> Tensor:
        """Sum of the blocks' relative square errors."""
        with torch.no_grad():
            wanted = trace(self.pair.teacher.backbone, pillars)
        return _sum_of_errors(trace(self.pair.student.backbone, pillars).states, wanted.states)


PHASES: tuple[type[Phase], ...] = (ClosedForm, LayerSteps, ClosedFormAgain, StackSteps)


def _sum_of_errors(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    parts = [relative_square(a, b) for a, b in zip(found, wanted, strict=True)]
    return torch.stack(parts).sum()
