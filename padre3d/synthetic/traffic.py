"""Moving actors: car following on lanes (intelligent driver model), cyclists, pedestrians."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from padre3d.synthetic.actors import Actor, make_actor
from padre3d.synthetic.catalog import SIZES
from padre3d.synthetic.meshes import Array
from padre3d.synthetic.street import MARGIN_M, PARKING_M, Street

WARM_UP_S = 6.0
EGO_LENGTH_M = 4.08

_LANE_CARDS = {"car": 9, "truck": 1, "bus": 1, "combination": 1, "motorcycle": 1}


@dataclass
class Lane:
    """One lane; ``u`` is the distance along its own driving direction.

    Attributes:
        direction: 1 where u grows with s (or, on a side street, with d), else -1.
        offset_m: the lane's fixed other coordinate.
        stops_u: stop lines at red lights.
        side_street: whether u runs along d and the offset is s.
    """

    direction: int
    offset_m: float
    stops_u: list[float] = field(default_factory=list)
    side_street: bool = False
    kinds: list[str] = field(default_factory=list)
    sizes: list[list[tuple[float, float, float]]] = field(default_factory=list)
    u: list[float] = field(default_factory=list)
    desired_mps: list[float] = field(default_factory=list)

    def add(self, kind: str, sizes: list, u: float, desired_mps: float) -> None:
        """Append a vehicle; vehicles are added from the front of the lane to its back."""
        self.kinds.append(kind)
        self.sizes.append(sizes)
        self.u.append(u)
        self.desired_mps.append(desired_mps)

    def lengths(self) -> Array:
        """Length of each vehicle, trailers included."""
        return np.array([sum(size[0] for size in sizes) for sizes in self.sizes])


def follow(
    lane: Lane, steps: int, step_s: float, reaction_s: float = 1.4, standstill_m: float = 2.2
) -> Array:
    """Positions (steps, vehicles) of a lane's vehicles, first vehicle in front.

    The intelligent driver model (Treiber et al. 2000) with red lights as standing leaders.
    """
    u, length = np.array(lane.u), lane.lengths()
    wish, speed = np.array(lane.desired_mps), np.array(lane.desired_mps)
    stops = np.sort(np.array(lane.stops_u + [np.inf]))
    out = np.empty((steps, len(u)))
    for step in range(steps):
        out[step] = u
        front = u + length / 2
        gap = np.concatenate([[np.inf], u[:-1] - length[:-1] / 2 - front[1:]])
        closing = np.concatenate([[0.0], speed[1:] - speed[:-1]])
        # Who overshoots a line by less than a metre still waits at it.
        red = stops[np.searchsorted(stops, front - 1.0)] - front
        closing = np.where(red < gap, speed, closing)
        # A light stops a vehicle at the line itself, a vehicle at its standstill distance.
        gap = np.maximum(np.minimum(gap, red + standstill_m), 0.1)
        want = standstill_m + np.maximum(
            0.0, reaction_s * speed + speed * closing / (2 * np.sqrt(1.5 * 2.5))
        )
        gain = 1.5 * (1 - (speed / wish) ** 4 - (want / gap) ** 2)
        new = np.clip(speed + step_s * np.maximum(gain, -8.0), 0.0, None)
        u = u + step_s * (speed + new) / 2
        speed = new
    return out


def deal(rng: np.random.Generator, cards: Mapping[str, int]) -> Iterator[str]:
    """Shuffled packs of cards without end: rare kinds turn up in every pack."""
    pack = [kind for kind, count in cards.items() for _ in range(count)]
    while True:
        yield from (pack[n] for n in rng.permutation(len(pack)))


def _draw_vehicle(rng: np.random.Generator, kind: str) -> tuple[str, list, float]:
    if kind == "combination":
        tractor = SIZES["truck"].draw(rng)
        tractor = (float(np.clip(tractor[0], 5.5, 7.5)), 2.5, max(tractor[2], 3.0))
        return kind, [tractor, SIZES["trailer"].draw(rng)], rng.uniform(6, 10)
    speed = {"bus": (6, 10), "truck": (6, 11), "bicycle": (2.5, 6.5)}.get(kind, (7, 13))
    return kind, [SIZES[kind].draw(rng)], float(rng.uniform(*speed))


def fill_lane(
    lane: Lane,
    rng: np.random.Generator,
    u_range: tuple[float, float],
    gap_m: float,
    kinds: Iterator[str],
    ego_wish_mps: float | None = None,
) -> None:
    """Place vehicles from front to back; with ``ego_wish_mps`` the ego vehicle stands at u = 0."""
    u, ego_pending = u_range[1] - rng.uniform(0, gap_m), ego_wish_mps is not None
    while ego_pending or u > u_range[0]:
        kind, sizes, wish = _draw_vehicle(rng, next(kinds))
        length = sum(size[0] for size in sizes)
        if ego_pending and u - length < EGO_LENGTH_M / 2 + 8:
            lane.add("ego", [(EGO_LENGTH_M, 1.73, 1.56)], 0.0, float(ego_wish_mps or 0.0))
            u, ego_pending = -EGO_LENGTH_M / 2 - 8 - rng.uniform(0, gap_m), False
            continue
        lane.add(kind, sizes, u - length / 2, wish)
        u -= length + 5 + rng.exponential(gap_m - 5)


def lane_actors(
    street: Street, rng: np.random.Generator, lane: Lane, track_u: Array
) -> list[Actor]:
    """Actors of a lane from their positions (T, vehicles); the ego vehicle is left out."""
    actors = []
    yaw = np.pi / 2 * lane.direction if lane.side_street else np.pi * (lane.direction < 0)
    for n, (kind, sizes) in enumerate(zip(lane.kinds, lane.sizes, strict=True)):
        wobble = rng.normal(scale=0.2)
        if kind == "ego":
            continue
        total = sum(size[0] for size in sizes)
        front = track_u[:, n] + total / 2
        names = ["truck", "trailer"] if kind == "combination" else [kind]
        for name, size in zip(names, sizes, strict=True):
            along = lane.direction * (front - size[0] / 2)
            across = np.full(len(along), lane.offset_m + wobble)
            s, d = (across, along) if lane.side_street else (along, across)
            cycle = name in ("bicycle", "motorcycle")
            shape = f"{name}+rider" if cycle else name
            if kind == "combination" and name == "truck":
                shape = "tractor"
            role = "rider" if cycle else "lane"
            actors.append(
                make_actor(street, rng, name, s, d, yaw, role=role, size_lwh_m=size, kind=shape)
            )
            front = front - size[0]
    return actors


def all_lanes(street: Street, rng: np.random.Generator, ego_wish_mps: float) -> list[Lane]:
    """All lanes with their vehicles; the first one holds the ego vehicle."""
    kinds = deal(rng, _LANE_CARDS)
    return _main_lanes(street, rng, kinds, ego_wish_mps) + _side_lanes(street, rng, kinds)


def _main_lanes(
    street: Street, rng: np.random.Generator, kinds: Iterator[str], ego_wish_mps: float
) -> list[Lane]:
    lanes: list[Lane] = []
    gap_m = rng.uniform(35, 75) * street.lanes**0.5
    ego_lane = int(rng.integers(street.lanes))
    order = [ego_lane] + [n for n in range(street.lanes) if n != ego_lane]
    bike_d = street.half_width_m - PARKING_M - 0.8
    for direction in (1, -1):
        stops = [direction * s - half - 3.0 for s, half, green in street.crossings if not green]
        ends = sorted((direction * street.start_m, direction * street.end_m))
        for n in order if direction == 1 else range(street.lanes):
            lane = Lane(direction, street.lane_centre_m(n, direction), stops)
            ego = ego_wish_mps if not lanes else None
            fill_lane(lane, rng, (ends[0], ends[1]), gap_m, kinds, ego)
            lanes.append(lane)
        bikes = Lane(direction, -direction * bike_d, stops)
        fill_lane(bikes, rng, (ends[0], ends[1]), 150.0, deal(rng, {"bicycle": 1}))
        lanes.append(bikes)
    return lanes


def _side_lanes(street: Street, rng: np.random.Generator, kinds: Iterator[str]) -> list[Lane]:
    """Lanes of the side streets; they wait where the main street has green."""
    lanes = []
    for s, half, green in street.crossings:
        for direction in (1, -1):
            stop = [-street.half_width_m - 3.0] if green else []
            lane = Lane(direction, s + direction * half / 2, stop, side_street=True)
            behind = MARGIN_M - 5
            front = stop[0] if green else street.half_width_m
            fill_lane(lane, rng, (-behind, front), 45.0, kinds)
            lanes.append(lane)
    return lanes


def walkers(street: Street, rng: np.random.Generator, times_s: Array) -> list[Actor]:
    """Pedestrians on the pavements and on crossings, in small groups."""
    actors: list[Actor] = []
    for side in (-1, 1):
        s = street.start_m + rng.uniform(0, 20)
        while s < street.end_m:
            speed = rng.uniform(0.8, 1.8) * rng.choice([-1, 1]) if rng.random() < 0.75 else 0.0
            if _walks_into_traffic(street, s, speed * times_s[-1]):
                speed = 0.0
            for n in range(int(rng.choice([1, 2, 3, 5], p=[0.55, 0.27, 0.13, 0.05]))):
                start = s + 1.0 * n + rng.uniform(-0.1, 0.1)
                d = side * (street.half_width_m + rng.uniform(2.0, street.sidewalk_m))
                along = start + speed * times_s
                if speed == 0.0 and street.near_crossing(start, 1.0):
                    continue
                actors.append(
                    _walker(
                        street,
                        rng,
                        along,
                        np.full(len(along), d),
                        speed,
                        0.0 if speed >= 0 else np.pi,
                        times_s,
                    )
                )
            s += rng.exponential(44.0) + 4
    return actors + _crossers(street, rng, times_s)


def _walks_into_traffic(street: Street, s: float, travel_m: float) -> bool:
    low, high = sorted((s, s + travel_m))
    return any(
        not green and low - 3 < centre + half and centre - half < high + 3
        for centre, half, green in street.crossings
    )


def _walker(
    street: Street,
    rng: np.random.Generator,
    s: Array,
    d: Array,
    speed_mps: float,
    yaw: float,
    times_s: Array,
) -> Actor:
    if speed_mps == 0.0:
        return make_actor(
            street, rng, "pedestrian", s[0], d[0], rng.uniform(-np.pi, np.pi), role="walker"
        )
    gait = 2 * np.pi * abs(speed_mps) / 1.4 * times_s + rng.uniform(0, 2 * np.pi)
    return make_actor(street, rng, "pedestrian", s, d, yaw, role="walker", gait=gait)


def _crossers(street: Street, rng: np.random.Generator, times_s: Array) -> list[Actor]:
    """People crossing the main street where it has red."""
    actors = []
    for centre, half, green in street.crossings:
        if green:
            continue
        for _ in range(int(rng.integers(2, 6))):
            s = centre + rng.choice([-1, 1]) * (half + rng.uniform(0.8, 2.2))
            way = int(rng.choice([-1, 1]))
            edge = street.half_width_m + 2
            d = way * (rng.uniform(-1.2 * edge, 0.8 * edge) + rng.uniform(0.9, 1.6) * times_s)
            rest = edge + rng.uniform(1, 9)  # who has arrived stands still
            d = np.clip(d, -rest, rest)
            actors.append(
                _walker(street, rng, np.full(len(d), s), d, 1.2, way * np.pi / 2, times_s)
            )
    return actors
