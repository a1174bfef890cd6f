"""The frame of the input against the frame of the model, both ways.

The model knows the nuScenes LiDAR frame: x right, y forward, z up, the ground 1.84 m below the
origin. Clouds are taken there before inference, and boxes are brought back to the input's frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from padre3d.io.options import UNITS_M
from padre3d.structures.boxes import Detections

MODEL_SENSOR_HEIGHT_M = 1.84
# How far a frame's axes are turned, counter-clockwise, to become the model's.
AXES_DEG = {"nuscenes": 0.0, "kitti": 90.0}


@dataclass(frozen=True)
class InputFrame:
    """How a cloud's frame lies.

    Attributes:
        axes: ``nuscenes`` (x right, y forward) or ``kitti`` (x forward, y left); z is up.
        yaw_deg: turn of the cloud about z, counter-clockwise, before its axes are as they say; 0
            where they are already.
        sensor_height_m: height of the cloud's origin above the ground; None: as the model's.
        origin: x, y, z that reading subtracted (``unit``); boxes get it back.
        unit: length unit of ``origin``.

    Raises:
        ValueError: on unknown axes or numbers that are not finite.
    """

    axes: str = "nuscenes"
    yaw_deg: float = 0.0
    sensor_height_m: float | None = None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unit: str = "m"

    def __post_init__(self) -> None:
        if self.axes not in AXES_DEG:
            raise ValueError(f"--axes: expected one of {', '.join(AXES_DEG)}, got {self.axes!r}")
        for option, value in (("--yaw", self.yaw_deg), ("--sensor-height", self.sensor_height_m)):
            if value is not None and not np.isfinite(value):
                raise ValueError(f"{option}: expected a finite number, got {value}")

    @property
    def turn_rad(self) -> float:
        """Angle in radians, counter-clockwise, that turns the cloud into the model's axes."""
        return float(np.deg2rad(AXES_DEG[self.axes] + self.yaw_deg))

    @property
    def lift_m(self) -> float:
        """What z gains on the way into the model's frame."""
        if self.sensor_height_m is None:
            return 0.0
        return self.sensor_height_m - MODEL_SENSOR_HEIGHT_M

    @property
    def axis_labels(self) -> tuple[str, str]:
        """What a picture writes at its x and y axis."""
        if self.yaw_deg % 360:
            return "x (m)", "y (m)"
        if self.axes == "kitti":
            return "x, forward (m)", "y, left (m)"
        return "x, right (m)", "y, forward (m)"

    @property
    def forward_rad(self) -> float:
        """Direction of forward in the input's frame, in radians counter-clockwise from +x."""
        return np.pi / 2 - self.turn_rad

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Points (P, >= 3) of the input in the model's frame; a copy unless nothing changes."""
        if self.turn_rad == 0 and self.lift_m == 0:
            return points
        moved = points.copy()
        moved[:, :2] = points[:, :2] @ _rotation(self.turn_rad).T
        moved[:, 2] += self.lift_m
        return moved

    def to_input(self, found: Detections) -> Detections:
        """Boxes of the model in the input's frame, in metres.

        Args:
            found: boxes (K, 9) in the model's frame.
        """
        boxes = np.array(found.boxes, np.float64)
        back = _rotation(-self.turn_rad)
        boxes[:, :2] = boxes[:, :2] @ back.T
        boxes[:, 7:9] = boxes[:, 7:9] @ back.T
        boxes[:, 2] -= self.lift_m
        if self.turn_rad:
            boxes[:, 6] = (boxes[:, 6] - self.turn_rad + np.pi) % (2 * np.pi) - np.pi
        boxes[:, :3] += np.asarray(self.origin) * UNITS_M[self.unit]
        return Detections(boxes, found.scores, found.labels)


def _rotation(angle_rad: float) -> np.ndarray:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin], [sin, cos]])
