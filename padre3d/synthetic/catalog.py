"""What nuScenes calls things and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASS_TO_CATEGORY = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "construction_vehicle": "vehicle.construction",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "barrier": "movable_object.barrier",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "pedestrian": "human.pedestrian.adult",
    "traffic_cone": "movable_object.trafficcone",
}

CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)

ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)

# token -> share of the object that is seen
VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}


@dataclass(frozen=True)
class SizeModel:
    """Log-normal sizes: mean length, width and height in metres and their relative spread.

    ``shared`` is the part of the spread that all three have in common (large cars are larger in
    every direction).
    """

    mean_lwh_m: tuple[float, float, float]
    spread: tuple[float, float, float]
    shared: float = 0.5

    def draw(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """One object's length, width and height in metres."""
        common, own = rng.normal(), rng.normal(size=3)
        unit = np.clip(self.shared * common + np.sqrt(1 - self.shared**2) * own, -2.2, 2.2)
        spread = np.asarray(self.spread)
        size = np.asarray(self.mean_lwh_m) * np.exp(spread * unit - spread**2 / 2)
        return tuple(round(float(v), 3) for v in size)  # type: ignore[return-value]


# Means and spreads of the real training annotations.
SIZES = {
    "car": SizeModel((4.6, 1.95, 1.73), (0.10, 0.08, 0.12)),
    "truck": SizeModel((6.9, 2.5, 2.84), (0.26, 0.12, 0.22), 0.8),
    "construction_vehicle": SizeModel((6.4, 2.85, 3.19), (0.22, 0.14, 0.18), 0.6),
    "bus": SizeModel((11.1, 2.93, 3.46), (0.12, 0.05, 0.08), 0.4),
    "trailer": SizeModel((12.3, 2.9, 3.87), (0.20, 0.06, 0.10), 0.5),
    "barrier": SizeModel((0.5, 2.53, 0.98), (0.20, 0.18, 0.10), 0.2),
    "motorcycle": SizeModel((2.1, 0.77, 1.47), (0.09, 0.16, 0.08), 0.4),
    "bicycle": SizeModel((1.7, 0.6, 1.28), (0.10, 0.16, 0.10), 0.4),
    "pedestrian": SizeModel((0.73, 0.67, 1.77), (0.16, 0.12, 0.08), 0.3),
    "traffic_cone": SizeModel((0.41, 0.41, 1.07), (0.22, 0.22, 0.18), 0.9),
}
