"""What stands beside and along a street: lots, parked vehicles, road works, furniture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from padre3d.synthetic import clutter
from padre3d.synthetic.actors import Actor, make_actor
from padre3d.synthetic.catalog import SIZES
from padre3d.synthetic.meshes import Mesh
from padre3d.synthetic.street import PARKING_M, Street
from padre3d.synthetic.traffic import deal

_LOTS = {"building": 7, "parking": 1, "site": 1, "park": 2, "yard": 1}
_PARKED_MIX = (("car", 0.82), ("truck", 0.07), ("motorcycle", 0.08), ("trailer", 0.03))


class Layout:
    """Everything that stands still in a scene.

    Args:
        street: where to build.
        rng: draws the layout.

    Attributes:
        meshes: clutter, not annotated.
        actors: annotated objects that never move.
    """

    def __init__(self, street: Street, rng: np.random.Generator) -> None:
        self.street, self.rng = street, rng
        self.meshes: list[Mesh] = []
        self.actors: list[Actor] = []
        for side in (-1, 1):
            works = self._road_works(side)
            self._kerb_parking(side, works)
            self._furniture(side)
            for kind, s_range in self._lots():
                self._build_lot(kind, s_range, side)
            self._backdrop(side)
        self._side_parking()

    def _add(self, class_name: str, s: float, d: float, yaw: float = 0.0, **more: object) -> None:
        more.setdefault("role", "parked")
        actor = make_actor(self.street, self.rng, class_name, s, d, yaw, **more)  # type: ignore[arg-type]
        self.actors.append(actor)

    def _lots(self) -> Iterator[tuple[str, tuple[float, float]]]:
        kinds = deal(self.rng, _LOTS)
        s = self.street.start_m
        while s < self.street.end_m - 12:
            length = self.rng.uniform(14, 34)
            hit = [c + h for c, h, _ in self.street.crossings if s - 4 < c + h and c - h < s + 14]
            if hit:
                s = max(hit) + 4
                continue
            nearest = [c - h - 4 for c, h, _ in self.street.crossings if c - h > s]
            end = min([s + length, *nearest])
            yield next(kinds), (s, end)
            s = end + self.rng.choice([0.5, 3.0, 8.0])

    def _build_lot(self, kind: str, s_range: tuple[float, float], side: int) -> None:
        front = side * (self.street.half_width_m + self.street.sidewalk_m + self.rng.uniform(0, 3))
        if kind == "building":
            self.meshes += clutter.building(self.street, self.rng, s_range, front + side * 0.8)
            return
        if kind != "site" and self.rng.random() < 0.5:
            self.meshes.append(clutter.wall(self.street, self.rng, s_range, front))
        {"parking": self._parking, "site": self._site, "yard": self._yard, "park": self._park}[
            kind
        ](s_range, front + side * 3, side)

    def _parking(self, s_range: tuple[float, float], d: float, side: int) -> None:
        for row in range(2):
            for s in np.arange(s_range[0] + 1.8, s_range[1] - 1.8, 2.9):
                if self.rng.random() < 0.25:
                    yaw = side * np.pi / 2 * self.rng.choice([-1, 1]) + self.rng.normal(scale=0.03)
                    self._add("car", s, d + side * (1.0 + 6.5 * row), yaw)

    def _site(self, s_range: tuple[float, float], d: float, side: int) -> None:
        rng, middle = self.rng, sum(s_range) / 2
        fence = d - side * 2.0
        name = "barrier" if rng.random() < 0.75 else "traffic_cone"
        for s in np.arange(s_range[0] + 1.5, s_range[1] - 1.4, 2.9 if name == "barrier" else 5.0):
            if rng.random() < 0.9:
                yaw = np.pi / 2 + rng.normal(scale=0.06)
                self._add(name, s, fence + rng.normal(scale=0.12), yaw, role="thing")
        for s in np.arange(s_range[0] + 5, s_range[1] - 4, 20.0):
            self._add(
                "construction_vehicle", s, d + side * rng.uniform(3, 9), rng.uniform(-np.pi, np.pi)
            )
        if rng.random() < 0.5:
            self._add("truck", middle, d + side * 14, rng.choice([0, np.pi]))
        for _ in range(int(rng.integers(1, 4))):
            self._add(
                "pedestrian",
                rng.uniform(*s_range),
                d + side * rng.uniform(-1, 1),
                rng.uniform(-np.pi, np.pi),
                role="walker",
            )
        for _ in range(3):
            s, away = rng.uniform(*s_range), side * rng.uniform(12, 20)
            self.meshes.append(clutter.place(self.street, clutter.pile(rng), s, d + away))

    def _yard(self, s_range: tuple[float, float], d: float, side: int) -> None:
        across = self.rng.random() < 0.5
        depth = side * 7.5
        if across:
            for s in np.arange(s_range[0] + 2.5, s_range[1] - 2, 4.2):
                name = "trailer" if self.rng.random() < 0.6 else "truck"
                if self.rng.random() < 0.75:
                    self._add(name, s, d + depth, side * np.pi / 2 * self.rng.choice([-1, 1]))
            return
        for row in range(2):
            s = s_range[0]
            while True:
                name = "trailer" if self.rng.random() < 0.6 else "truck"
                size = SIZES[name].draw(self.rng)
                if s + size[0] > s_range[1]:
                    break
                yaw = self.rng.choice([0, np.pi]) + self.rng.normal(scale=0.03)
                self._add(name, s + size[0] / 2, d + side * (1 + 4.5 * row), yaw, size_lwh_m=size)
                s += size[0] + self.rng.uniform(1, 6)

    def _park(self, s_range: tuple[float, float], d: float, side: int) -> None:
        rng = self.rng
        for s in np.arange(s_range[0] + 2, s_range[1] - 1, 4.0):
            for away in (2.0, 8.0, 15.0):
                kind = rng.random()
                where = (s + rng.uniform(-1, 1), d + side * (away + rng.uniform(-2, 2)))
                if kind < 0.5:
                    make = clutter.tree if kind < 0.28 else clutter.bush
                    self.meshes.append(clutter.place(self.street, make(rng), *where))
                elif kind < 0.55:
                    role = "walker" if rng.random() < 0.7 else "sitting"
                    low = (0.8, 0.7, 1.25) if role == "sitting" else None
                    self._add(
                        "pedestrian", *where, rng.uniform(-np.pi, np.pi), role=role, size_lwh_m=low
                    )

    def _backdrop(self, side: int) -> None:
        """Far houses and trees that close the view over open lots."""
        d = side * (self.street.half_width_m + self.street.sidewalk_m + 42)
        s = self.street.start_m
        while s < self.street.end_m:
            length = self.rng.uniform(12, 30)
            if not self.street.near_crossing(s + length / 2, length / 2 + 2):
                span = (s, s + length)
                self.meshes += clutter.building(self.street, self.rng, span, d)
            s += length + self.rng.uniform(2, 30)

    def _road_works(self, side: int) -> tuple[float, float]:
        """Cones, barriers and a machine on a stretch of the parking lane; returns its s range."""
        rng, street = self.rng, self.street
        length = rng.uniform(18, 40)
        s = rng.uniform(0, max(street.end_m - 140, 40))
        while street.near_crossing(s + length / 2, length / 2 + 3):
            s += 5
        d = side * (street.half_width_m - PARKING_M / 2)
        edge = side * (street.half_width_m - PARKING_M + 0.1)
        name = "traffic_cone" if rng.random() < 0.7 else "barrier"
        for at in np.arange(s, s + length, rng.uniform(3.0, 5.0) if name[0] == "t" else 2.9):
            self._add(name, at, edge, np.pi / 2 + rng.normal(scale=0.08), role="thing")
        for at in (s - 1, s + length + 1):
            self._add("barrier", at, d, rng.normal(scale=0.1), role="thing")
        kind = "construction_vehicle" if rng.random() < 0.6 else "truck"
        size = SIZES[kind].draw(rng)
        size = (size[0], min(size[1], 2.5), size[2])
        on_kerb = d + side * 0.6
        self._add(kind, s + length / 2, on_kerb, rng.choice([0, np.pi]), size_lwh_m=size)
        for _ in range(int(rng.integers(0, 3))):
            self._add(
                "pedestrian",
                s + rng.uniform(0.5, 3.5),
                d,
                rng.uniform(-np.pi, np.pi),
                role="walker",
            )
        return s - 4, s + length + 4

    def _kerb_parking(self, side: int, works: tuple[float, float]) -> None:
        rng, street = self.rng, self.street
        share = rng.uniform(0.08, 0.4)
        d = side * (street.half_width_m - PARKING_M / 2)
        s = street.start_m
        while s < street.end_m - 15:
            kind = str(rng.choice([m[0] for m in _PARKED_MIX], p=[m[1] for m in _PARKED_MIX]))
            size = SIZES[kind].draw(rng)
            step, middle = size[0] + rng.uniform(0.7, 2.0), s + size[0] / 2
            blocked = works[0] < s + size[0] and s < works[1]
            blocked = blocked or street.near_crossing(middle, size[0] / 2 + 4)
            if not blocked and rng.random() < share:
                role = "riderless" if kind == "motorcycle" else "parked"
                yaw = (np.pi if side > 0 else 0.0) + rng.normal(scale=0.03)
                self._add(kind, middle, d + rng.normal(scale=0.12), yaw, role=role, size_lwh_m=size)
            s += step

    def _side_parking(self) -> None:
        for centre, half, _ in self.street.crossings:
            for end in (-1, 1):
                for edge in (-1, 1):
                    for away in np.arange(14, 60, 7.0):
                        if half > 5 and self.rng.random() < 0.25:
                            d = end * (self.street.half_width_m + away)
                            self._add("car", centre + edge * (half + 1.2), d, -edge * np.pi / 2)

    def _furniture(self, side: int) -> None:
        rng, street = self.rng, self.street
        d = side * (street.half_width_m + 0.7)
        s = street.start_m
        while s < street.end_m:
            if not street.near_crossing(s, 1.5):
                if rng.random() < 0.025:
                    for n in range(int(rng.integers(1, 4))):
                        name = "bicycle" if rng.random() < 0.6 else "motorcycle"
                        yaw = side * np.pi / 2 + rng.normal(scale=0.2)
                        self._add(name, s + 0.9 * n, d + side * 0.5, yaw, role="riderless")
                else:
                    self.meshes.append(
                        clutter.place(street, clutter.furniture(rng), s, d, np.pi * (side > 0))
                    )
            s += rng.uniform(3.0, 11.0)
