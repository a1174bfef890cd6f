"""Shapes of the ten classes, each built to fill a given box centred at the origin, +x forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from padre3d.synthetic.meshes import Mesh, box, cylinder, fit_to_box, merge, prism
from padre3d.synthetic.small_shapes import barrier, beam, cone, cycle_builder, pedestrian

PAINTS = ("paint_dark", "paint_grey", "paint_light", "paint_bright")
_PAINT_SHARE = (0.3, 0.35, 0.25, 0.1)


def build_shape(kind: str, size_lwh_m: Sequence[float], rng: np.random.Generator) -> Mesh:
    """The mesh of one object.

    Args:
        kind: a detection class, or ``"tractor"`` (a truck without a load bed); cycles take
            ``"bicycle+rider"`` and ``"motorcycle+rider"`` too.
        size_lwh_m: length, width and height of its box.
        rng: draws the variant and the materials.

    Raises:
        ValueError: for a kind that has no shape.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"kind: expected one of {sorted(_BUILDERS)}, got {kind!r}")
    length, width, height = (float(v) for v in size_lwh_m)
    mesh = merge(_BUILDERS[kind](length, width, height, rng))
    if kind == "pedestrian":  # a body does not fill the box that its stride needs
        return mesh.moved((0.0, 0.0, -height / 2))
    return fit_to_box(mesh, size_lwh_m)


def _paint(rng: np.random.Generator) -> str:
    return PAINTS[rng.choice(4, p=_PAINT_SHARE)]


def _wheels(xs: Sequence[float], half_width: float, radius: float, depth: float = 0.25) -> list:
    """Wheels standing on z = 0 at each x, left and right."""
    y = half_width - depth / 2
    return [
        cylinder((x, side * y, radius), radius, depth, "rubber", axis="y", sides=8)
        for x in xs
        for side in (-1, 1)
    ]


def _plates(length: float, z: float) -> list[Mesh]:
    return [box((s * length / 2, 0, z), (0.03, 0.5, 0.14), "reflector") for s in (-1, 1)]


def _car(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    front, rear, waist = length / 2, -length / 2, height * rng.uniform(0.5, 0.6)
    kind = rng.choice(["sedan", "hatch", "suv", "van"], p=[0.4, 0.25, 0.25, 0.1])
    bonnet = {"sedan": 0.3, "hatch": 0.28, "suv": 0.26, "van": 0.14}[kind] * length
    boot = {"sedan": 0.16, "hatch": 0.04, "suv": 0.02, "van": 0.01}[kind] * length
    rake = 0.1 * length if kind == "van" else rng.uniform(0.12, 0.17) * length
    clear = 0.2
    paint = _paint(rng)
    body = prism(
        [
            (rear, clear + 0.1),
            (rear, waist * 0.97),
            (rear + 0.1, waist),
            (front - bonnet, waist),
            (front - 0.15, waist * 0.86),
            (front, waist * 0.65),
            (front, clear + 0.05),
        ],
        width,
        paint,
    )
    low, high = rear + boot, front - bonnet
    cabin = prism(
        [
            (low, waist),
            (low + 0.09 * length, height * 0.97),
            (high - rake, height * 0.97),
            (high, waist),
        ],
        width * 0.84,
        "glass",
    )
    roof = box(
        ((low + 0.09 * length + high - rake) / 2, 0, height * 0.985),
        (max(high - rake - low - 0.06 * length, 0.5), width * 0.78, height * 0.04),
        paint,
    )
    # Roof posts are painted metal: they return where the glass does not.
    posts = [
        box((x, s * width * 0.41, (waist + height) / 2), (0.14, 0.05, height - waist), paint)
        for x in (low + 0.12, (low + high) / 2, high - 0.6 * rake)
        for s in (-1, 1)
    ]
    wheels = _wheels((rear + 0.19 * length, front - 0.19 * length), width / 2, 0.33, 0.2)
    mirrors = [
        box((high - 0.3, s * width * 0.49, waist), (0.15, 0.03, 0.12), paint) for s in (-1, 1)
    ]
    return [body, cabin, roof, *posts, *wheels, *mirrors, *_plates(length, waist * 0.6)]


def _cab(
    front: float, depth: float, width: float, height: float, paint: str, floor: float = 0.45
) -> list[Mesh]:
    rear, waist = front - depth, floor + 0.55 * (height - floor)
    shell = prism(
        [
            (rear, floor),
            (rear, height),
            (front - 0.25 * depth, height),
            (front, waist),
            (front, floor),
        ],
        width,
        paint,
    )
    panes = [
        box(
            (front - 0.4 * depth, s * width * 0.49, (waist + height) / 2),
            (0.45 * depth, 0.05, 0.6 * (height - waist)),
            "glass",
        )
        for s in (-1, 1)
    ]
    return [shell, *panes]


def _tractor(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    front, depth = length / 2, min(0.45 * length, 2.6)
    frame = box((0, 0, 0.85), (length, 0.9, 0.35), "metal")
    wheels = _wheels((front - 0.9, -front + 0.7, -front + 1.9), width / 2, 0.5, 0.35)
    tank = box((front - depth - 0.7, 0.38 * width, 0.75), (0.9, 0.4, 0.5), "metal")
    return [*_cab(front, depth, width, height, _paint(rng)), frame, tank, *wheels]


def _truck(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    if length < 6.2 and rng.random() < 0.6:
        return _pickup(length, width, height, rng)
    front, rear = length / 2, -length / 2
    depth = float(np.clip(0.3 * length, 1.5, 2.3))
    bed_length = length - depth - 0.15
    bed_x = rear + bed_length / 2
    kind = rng.choice(["box", "flat", "dump", "tank"], p=[0.6, 0.15, 0.15, 0.1])
    load: list[Mesh] = []
    cab_height = height
    if kind == "box":
        cab_height = height * rng.uniform(0.75, 0.95)
        load = [
            box(
                (bed_x, 0, (0.95 + height) / 2),
                (bed_length, width, height - 0.95),
                str(rng.choice(["paint_light", "metal", "paint_grey"])),
            )
        ]
    elif kind == "flat":
        load = [
            box((bed_x, 0, 1.0), (bed_length, width, 0.2), "wood"),
            box((rear + bed_length - 0.05, 0, 1.5), (0.1, width, 1.0), "metal"),
            box((bed_x - 0.1 * bed_length, 0, 1.5), (0.5 * bed_length, 0.7 * width, 0.8), "wood"),
        ]
    elif kind == "dump":
        load = [
            box(
                (bed_x, 0, (0.9 + 0.8 * height) / 2),
                (bed_length, 0.85 * width, 0.8 * height - 0.9),
                _paint(rng),
                top=(1.0, 1.17),
            )
        ]
    else:
        radius = min(width / 2, (height - 0.9) / 2)
        load = [cylinder((bed_x, 0, 0.9 + radius), radius, bed_length, "metal", axis="x", sides=10)]
    axles = [front - 0.8, rear + 0.9] + ([rear + 2.1] if length > 8 else [])
    wheels = _wheels(axles, width / 2, 0.47, 0.32)
    frame = box((0, 0, 0.75), (length, 0.9, 0.3), "metal")
    cab = _cab(front, depth, 0.95 * width, cab_height, _paint(rng))
    return [*cab, frame, *load, *wheels, *_plates(length, 0.75)]


def _pickup(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    front, rear, waist, paint = length / 2, -length / 2, 0.55 * height, _paint(rng)
    body = prism(
        [
            (rear, 0.4),
            (rear, waist),
            (front - 0.27 * length, waist),
            (front, 0.88 * waist),
            (front, 0.4),
        ],
        width,
        paint,
    )
    low, high = rear + 0.38 * length, front - 0.25 * length
    cabin = prism(
        [(low, waist), (low + 0.2, height), (high - 0.6, height), (high, waist)],
        0.88 * width,
        "glass",
    )
    roof = box(((low + high - 0.4) / 2, 0, height), (high - low - 0.8, 0.86 * width, 0.06), paint)
    # The open bed: its walls stand above the floor that the body's top face gives.
    walls = [
        box(
            (rear + 0.19 * length, s * 0.47 * width, waist + 0.15),
            (0.37 * length, 0.07, 0.3),
            paint,
        )
        for s in (-1, 1)
    ]
    gate = box((rear + 0.04, 0, waist + 0.15), (0.07, width, 0.3), paint)
    wheels = _wheels((rear + 0.2 * length, front - 0.17 * length), width / 2, 0.4, 0.27)
    return [body, cabin, roof, gate, *walls, *wheels, *_plates(length, 0.6)]


def _bus(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    paint, sill, top = str(rng.choice(PAINTS[1:])), 0.42 * height, 0.78 * height
    lower = box((0, 0, (0.35 + sill) / 2), (length, width, sill - 0.35), paint)
    upper = box((0, 0, (top + height) / 2), (length, width, height - top), paint)
    panes = box((0, 0, (sill + top) / 2), (0.985 * length, 0.97 * width, top - sill), "glass")
    count = max(int(length / 1.6), 3)
    posts = [
        box((x, 0, (sill + top) / 2), (0.22, width, top - sill), paint)
        for x in np.linspace(-0.485, 0.485, count) * length
    ]
    wheels = _wheels((0.3 * length, -0.27 * length), width / 2, 0.5, 0.3)
    rack = box((-0.1 * length, 0, height + 0.1), (0.3 * length, 0.6 * width, 0.2), "metal")
    mirrors = [
        box((length / 2 + 0.1, s * 0.48 * width, 0.7 * height), (0.2, 0.1, 0.4), "plastic")
        for s in (-1, 1)
    ]
    return [lower, upper, panes, *posts, *wheels, rack, *mirrors, *_plates(length, 0.6)]


def _trailer(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    front, rear, deck = length / 2, -length / 2, min(1.25, 0.45 * height)
    paint = str(rng.choice(["paint_light", "metal", "paint_grey", "paint_bright"]))
    chassis = box((0, 0, deck - 0.15), (length, 0.4 * width, 0.3), "metal")
    if height > 2.2:
        load = [box((0, 0, (deck + height) / 2), (length, width, height - deck), paint)]
        if rng.random() < 0.3:  # a container with ribs
            load += [
                box((x, 0, (deck + height) / 2), (0.1, width + 0.06, height - deck), paint)
                for x in np.arange(rear + 0.5, front, 1.2)
            ]
    else:
        load = [
            box((0, 0, deck + 0.05), (length, width, 0.15), "wood"),
            box(
                (0.05 * length, 0, (deck + height) / 2),
                (0.6 * length, 0.75 * width, height - deck),
                "wood",
            ),
        ]
    axles = (rear + 0.08 * length, rear + 0.08 * length + 1.25)
    legs = [
        box((front - 0.25 * length, s * 0.3 * width, deck / 2), (0.15, 0.15, deck), "metal")
        for s in (-1, 1)
    ]
    wheels = _wheels(axles, width / 2, min(0.5, 0.42 * deck), 0.35)
    return [chassis, *load, *legs, *wheels, *_plates(length, deck)]


def _construction(
    length: float, width: float, height: float, rng: np.random.Generator
) -> list[Mesh]:
    paint = str(rng.choice(["paint_bright", "paint_light", "paint_grey"]))
    if rng.random() < 0.5:
        return _excavator(length, width, height, paint, rng)
    front, rear = length / 2, -length / 2  # a wheel loader
    radius = min(0.24 * height, 0.16 * length)
    body = box(
        (rear + 0.22 * length, 0, 1.2 * radius + 0.3),
        (0.44 * length, 0.75 * width, 1.2 * radius),
        paint,
    )
    cab = box(
        (rear + 0.5 * length, 0, (height + radius) / 2 + 0.2),
        (0.2 * length, 0.6 * width, height - radius - 0.4),
        "glass",
        top=(0.85, 0.9),
    )
    roof = box((rear + 0.5 * length, 0, height), (0.22 * length, 0.62 * width, 0.1), paint)
    nose = box((rear + 0.66 * length, 0, radius + 0.2), (0.2 * length, 0.5 * width, radius), paint)
    arms = [
        box(
            (front - 0.2 * length, s * 0.25 * width, radius + 0.2), (0.3 * length, 0.15, 0.3), paint
        )
        for s in (-1, 1)
    ]
    bucket = prism(
        [
            (front - 0.16 * length, 0.1),
            (front - 0.14 * length, 1.1),
            (front - 0.02, 0.95),
            (front, 0.05),
        ],
        width,
        "metal",
    )
    wheels = _wheels((rear + 0.2 * length, rear + 0.64 * length), 0.46 * width, radius, 0.4)
    return [body, cab, roof, nose, *arms, bucket, *wheels]


def _excavator(
    length: float, width: float, height: float, paint: str, rng: np.random.Generator
) -> list[Mesh]:
    rear, deck = -length / 2, 0.32 * height
    house = 0.5 * length
    tracks = [
        box(
            (rear + 0.5 * house, s * 0.4 * width, 0.45 * deck),
            (house, 0.2 * width, 0.9 * deck),
            "rubber",
        )
        for s in (-1, 1)
    ]
    base = box((rear + 0.5 * house, 0, 0.6 * deck), (0.7 * house, 0.6 * width, 0.4 * deck), "metal")
    body = box(
        (rear + 0.38 * house, 0, deck + 0.22 * height),
        (0.76 * house, 0.9 * width, 0.42 * height),
        paint,
    )
    cab = box(
        (rear + 0.78 * house, 0.25 * width, deck + 0.3 * height),
        (0.4 * house, 0.36 * width, 0.58 * height),
        "glass",
        top=(0.8, 1.0),
    )
    elbow = np.array([rear + house + rng.uniform(0.1, 0.25) * length, height * 0.97])
    foot = np.array([rear + 0.8 * house, deck + 0.2 * height])
    tip = np.array([length / 2 - 0.25, rng.uniform(0.3, 1.0)])
    arm = [beam(foot, elbow, 0.32, paint), beam(elbow, tip, 0.26, paint)]
    bucket = box((tip[0], -0.1 * width, tip[1]), (0.5, 0.35 * width, 0.6), "metal")
    return [*tracks, base, body, cab, *arm, bucket]


_BUILDERS: dict[str, Callable[..., list[Mesh]]] = {
    "car": _car,
    "truck": _truck,
    "tractor": _tractor,
    "bus": _bus,
    "trailer": _trailer,
    "construction_vehicle": _construction,
    "pedestrian": pedestrian,
    "traffic_cone": cone,
    "barrier": barrier,
    "bicycle": cycle_builder(False, False),
    "bicycle+rider": cycle_builder(True, False),
    "motorcycle": cycle_builder(False, True),
    "motorcycle+rider": cycle_builder(True, True),
}
