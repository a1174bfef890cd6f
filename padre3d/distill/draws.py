"""Which cloud a step sees, turned and mirrored: functions of the seed and the step alone."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

MAX_ANGLE = 0.39


class Clouds(Protocol):
    """Clouds (P, 5) by number: x, y, z in metres, intensity, time lag. A list is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Tensor: ...


class Draws:
    """Clouds in shuffled passes, each turned by up to 22 degrees and mirrored half of the time.

    Any step can be asked for, so that a run goes on where it was stopped with what it would have
    seen.

    Args:
        clouds: to draw from.
        seed: of the order and the turns; with ``stream`` it starts numpy's PCG64.
        stream: number of what the clouds are drawn for.

    Raises:
        ValueError: without a cloud.
    """

    def __init__(self, clouds: Clouds, seed: int, stream: int) -> None:
        if not len(clouds):
            raise ValueError("frames: expected at least one to fit on, got none")
        self.clouds, self.key = clouds, (seed, stream)

    def __getitem__(self, step: int) -> Tensor:
        """The cloud of a step, from 0 on."""
        number, place = divmod(step, len(self.clouds))
        rng = np.random.default_rng((*self.key, number))
        order = rng.permutation(len(self.clouds))
        angles = rng.uniform(-MAX_ANGLE, MAX_ANGLE, len(order))
        mirrored = rng.random(len(order)) < 0.5
        return turned(self.clouds[int(order[place])], float(angles[place]), bool(mirrored[place]))


def turned(points: Tensor, angle: float, mirror: bool) -> Tensor:
    """A cloud turned about z, counter-clockwise in radians, then mirrored left and right.

    y points ahead, so the mirror turns the sign of x.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    out = points.clone()
    out[:, :2] = points[:, :2] @ torch.tensor([[cos, sin], [-sin, cos]])
    if mirror:
        out[:, 0] *= -1
    return out
