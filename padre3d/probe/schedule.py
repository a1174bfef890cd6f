"""Data order and augmentation: functions of the seed alone, so that all mixers see the same."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from padre3d.probe.frames import Frame


class Draw(NamedTuple):
    """One frame of a step.

    Attributes:
        frame: its number.
        angle: turn about z in radians, counter-clockwise.
        flip: whether y changes its sign afterwards.
    """

    frame: int
    angle: float
    flip: bool


class Schedule:
    """All steps of a training, drawn before it starts.

    The frames come in shuffled passes: each is used equally often, up to one time. The stream is
    numpy's PCG64 of the seed, which no weight is drawn from.

    Args:
        seed: of the draw.
        steps: number of steps.
        batch_size: frames of a step.
        num_frames: frames to choose from.
        max_angle: frames turn by an angle drawn evenly from -max_angle .. max_angle, radians.
        flip_probability: share of frames mirrored front to back (y, which points ahead).
    """

    def __init__(
        self,
        seed: int,
        steps: int,
        batch_size: int,
        num_frames: int,
        max_angle: float = 0.39,
        flip_probability: float = 0.5,
    ) -> None:
        rng = np.random.default_rng(seed)
        wanted = steps * batch_size
        passes = math.ceil(wanted / num_frames)
        frames = np.concatenate([rng.permutation(num_frames) for _ in range(passes)])[:wanted]
        angles = rng.uniform(-max_angle, max_angle, wanted)
        flips = rng.random(wanted) < flip_probability
        rows = zip(frames.tolist(), angles.tolist(), flips.tolist(), strict=True)
        draws = [Draw(*row) for row in rows]
        self.steps = [draws[i : i + batch_size] for i in range(0, wanted, batch_size)]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, step: int) -> list[Draw]:
        return self.steps[step]


def augment(frame: Frame, draw: Draw) -> Frame:
    """A frame of tensors turned about z, then mirrored; points, boxes and velocities alike."""
    points, boxes = frame.points.clone(), frame.boxes.clone()
    cos, sin = math.cos(draw.angle), math.sin(draw.angle)
    # Row vectors: the transpose of the usual counter-clockwise rotation.
    turn = points.new_tensor([[cos, sin], [-sin, cos]])
    for values, columns in ((points, slice(0, 2)), (boxes, slice(0, 2)), (boxes, slice(7, 9))):
        values[:, columns] = values[:, columns] @ turn
    boxes[:, 6] += draw.angle
    if draw.flip:
        points[:, 1] *= -1
        boxes[:, [1, 6, 8]] *= -1
    return Frame(points, boxes, frame.labels)


def as_tensors(frame: Frame, device: str | torch.device = "cpu") -> Frame:
    """A frame of arrays as tensors on a device."""
    tensors: list[Tensor] = [torch.from_numpy(values).to(device) for values in frame]
    return Frame(*tensors)
