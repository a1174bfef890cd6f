"""Annotated objects: what they are, how large, and where they are at every sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from padre3d.synthetic.actor_shapes import build_shape
from padre3d.synthetic.catalog import CLASS_TO_CATEGORY, SIZES
from padre3d.synthetic.meshes import Array, Mesh
from padre3d.synthetic.street import Street

_MOVING_MPS = 0.3


@dataclass
class Actor:
    """One object of a scene.

    Attributes:
        class_name: detection class.
        size_lwh_m: box size.
        mesh: its shape, centred in its box, +x forward.
        centre_m: (T, 3) global box centre at each sweep; T = 1 for one that never moves.
        yaw: (T,) global heading.
        pitch: (T,) slope of the ground along the heading (the box itself stays level).
        gait: (T,) phase of the walking step, radians.
        role: ``lane``, ``parked``, ``rider``, ``riderless``, ``walker``, ``sitting`` or ``thing``.
    """

    class_name: str
    size_lwh_m: tuple[float, float, float]
    mesh: Mesh
    centre_m: Array
    yaw: Array
    pitch: Array
    gait: Array
    role: str

    @property
    def moves(self) -> bool:
        """Whether it has a pose of its own at every sweep."""
        return len(self.centre_m) > 1

    def at(self, sweep: int) -> int:
        """Row of the pose arrays for a sweep."""
        return sweep if self.moves else 0

    def category(self) -> str:
        """NuScenes category name."""
        return CLASS_TO_CATEGORY[self.class_name]

    def attribute(self, sweep: int, sweep_s: float) -> str | None:
        """NuScenes attribute name at a sweep, None for barriers and cones."""
        if self.class_name in ("barrier", "traffic_cone"):
            return None
        if self.class_name in ("bicycle", "motorcycle"):
            return "cycle.with_rider" if self.role == "rider" else "cycle.without_rider"
        moving = self.speed_mps(sweep, sweep_s) > _MOVING_MPS
        if self.class_name == "pedestrian":
            if self.role == "sitting":
                return "pedestrian.sitting_lying_down"
            return "pedestrian.moving" if moving else "pedestrian.standing"
        if self.role == "parked":
            return "vehicle.parked"
        return "vehicle.moving" if moving else "vehicle.stopped"

    def speed_mps(self, sweep: int, sweep_s: float) -> float:
        """Speed over ground around a sweep."""
        if not self.moves:
            return 0.0
        a, b = max(sweep - 1, 0), min(sweep + 1, len(self.centre_m) - 1)
        step = self.centre_m[b, :2] - self.centre_m[a, :2]
        return float(np.hypot(*step) / (sweep_s * (b - a)))


def make_actor(
    street: Street,
    rng: np.random.Generator,
    class_name: str,
    s: float | Array,
    d: float | Array,
    yaw: float | Array,
    *,
    role: str = "parked",
    size_lwh_m: tuple[float, float, float] | None = None,
    kind: str | None = None,
    gait: Array | None = None,
) -> Actor:
    """Stand an object on the ground.

    Args:
        s, d: street coordinates, a number each or one per sweep.
        yaw: heading relative to the street's, radians.
        size_lwh_m: its size; drawn from the class's real distribution by default.
        kind: shape to build where it is not the class itself (see ``build_shape``).
    """
    size = size_lwh_m or SIZES[class_name].draw(rng)
    s, d, yaw = (np.atleast_1d(np.asarray(v, float)) for v in np.broadcast_arrays(s, d, yaw))
    xy = street.xy(s, d)
    heading = street.heading(s) + yaw
    slope = street.slope(xy)
    rise = slope[:, 0] * np.cos(heading) + slope[:, 1] * np.sin(heading)
    centre = np.column_stack([xy, street.ground_m(s, d) + size[2] / 2])
    return Actor(
        class_name,
        size,
        build_shape(kind or class_name, size, rng),
        centre,
        heading,
        -np.arctan(rise),
        np.zeros(np.size(s)) if gait is None else gait,
        role,
    )
