"""Things that are not annotated: buildings, walls, poles, trees and street furniture."""

from __future__ import annotations

import numpy as np

from padre3d.synthetic.meshes import Mesh, ball, box, cylinder, leaf_cloud, merge
from padre3d.synthetic.street import Street

_WALLS = ("brick", "brick", "concrete", "stone", "paint_grey")


def place(street: Street, mesh: Mesh, s: float, d: float, yaw: float = 0.0) -> Mesh:
    """Stand a mesh whose base is z = 0 on the ground; yaw 0 looks along the street."""
    x, y = street.xy(s, d)
    return mesh.moved((x, y, float(street.ground_m(s, d))), float(street.heading(s)) + yaw)


def building(
    street: Street, rng: np.random.Generator, s_range: tuple[float, float], front_d: float
) -> list[Mesh]:
    """A house whose front stands at ``front_d``: walls, windows, ledges, sometimes an awning."""
    length, depth = s_range[1] - s_range[0], rng.uniform(8, 18)
    height, side = rng.uniform(4, 9) if rng.random() < 0.4 else rng.uniform(9, 28), np.sign(front_d)
    wall = str(rng.choice(_WALLS))
    # Local frame: +y points away from the street, the front is y = 0, z = -1 is in the ground.
    parts = [box((0, depth / 2, height / 2 - 0.5), (length, depth, height + 1), wall)]
    step = rng.uniform(2.5, 4.5)
    bays = np.arange(-length / 2 + step / 2, length / 2 - 0.8, step)
    for floor in np.arange(0.9, height - 2.0, 3.2)[:5]:
        for bay in bays:
            if rng.random() < 0.85:
                parts.append(box((bay, 0, floor + 0.9), (0.55 * step, 0.16, 1.5), "glass"))
        if rng.random() < 0.4:
            parts.append(box((0, -0.15, floor + 2.3), (length, 0.4, 0.2), wall))
    for bay in bays[:: int(rng.integers(2, 5))]:
        parts.append(box((bay + step / 2, -0.25, height / 2), (0.4, 0.5, height), wall))
    if rng.random() < 0.4:
        parts.append(box((0, -0.7, 2.9), (0.7 * length, 1.4, 0.15), "plastic"))
    middle = (s_range[0] + s_range[1]) / 2
    house = merge(parts)
    house.vertices[:, 1] *= side
    return [place(street, house, middle, front_d)]


def wall(street: Street, rng: np.random.Generator, s_range: tuple[float, float], d: float) -> Mesh:
    """A low wall, a fence or a hedge along the street."""
    kind, height = rng.choice(["wall", "fence", "hedge"]), rng.uniform(0.7, 1.9)
    parts = []
    for s in np.arange(s_range[0] + 1.5, s_range[1] - 1.4, 3.0):
        if kind == "wall":
            piece = box((0, 0, height / 2), (3.1, 0.25, height), "concrete")
        elif kind == "hedge":
            piece = leaf_cloud(rng, (0, 0, height / 2), (1.9, 0.6, height / 1.8), 90, 0.35)
        else:
            rails = [box((0, 0, z * height), (3.0, 0.04, 0.06), "metal") for z in (0.3, 0.95)]
            bars = [
                box((x, 0, height / 2), (0.03, 0.03, height), "metal")
                for x in np.arange(-1.5, 1.5, 0.3)
            ]
            piece = merge([*rails, *bars])
        parts.append(place(street, piece, s, d))
    return (
        merge(parts)
        if parts
        else place(street, box((0, 0, 0.2), (1, 1, 0.4), "concrete"), sum(s_range) / 2, d)
    )


def tree(rng: np.random.Generator) -> Mesh:
    """A trunk under a crown of loose leaves; the base is z = 0."""
    height, crown = rng.uniform(4.5, 12), rng.uniform(1.2, 3.4)
    trunk = cylinder((0, 0, height * 0.3), rng.uniform(0.1, 0.3), height * 0.6 + 0.4, "wood")
    leaves = leaf_cloud(
        rng,
        (0, 0, height - crown),
        (crown, crown, rng.uniform(0.8, 1.3) * crown),
        int(rng.uniform(250, 600)),
        rng.uniform(0.25, 0.55),
    )
    return merge([trunk, leaves])


def bush(rng: np.random.Generator) -> Mesh:
    """A shrub about as large as a person or a motorcycle."""
    radii = rng.uniform([0.3, 0.3, 0.3], [1.0, 0.8, 0.9])
    return leaf_cloud(rng, (0, 0, radii[2] * 0.8), radii, int(rng.uniform(40, 110)), 0.2)


def _lamp(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(5, 9)
    return merge(
        [
            cylinder((0, 0, height / 2), rng.uniform(0.06, 0.13), height, "metal", sides=6),
            box((0, 0, 0.3), (0.35, 0.35, 0.6), "concrete"),
            box((0, 0.9, height), (0.15, 1.8, 0.12), "metal"),
        ]
    )


def _sign(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(2.0, 3.2)
    return merge(
        [
            cylinder((0, 0, height / 2), 0.04, height, "metal", sides=6),
            box((0, 0, height - 0.3), (0.03, 0.6, 0.6), "reflector"),
        ]
    )


def _bin(rng: np.random.Generator) -> Mesh:
    return box(
        (0, 0, 0.5), rng.uniform([0.4, 0.4, 0.8], [0.8, 0.7, 1.2]), "plastic", top=(1.08, 1.08)
    )


def _bollard(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(0.6, 1.1)
    return cylinder((0, 0, height / 2), rng.uniform(0.06, 0.16), height, "metal", sides=6)


def _hydrant(rng: np.random.Generator) -> Mesh:
    return merge(
        [
            cylinder((0, 0, 0.35), 0.13, 0.7, "metal", sides=6),
            ball((0, 0, 0.75), (0.14, 0.14, 0.12), "metal"),
        ]
    )


def _cabinet(rng: np.random.Generator) -> Mesh:
    size = rng.uniform([0.4, 0.6, 1.0], [0.9, 1.6, 1.9])
    return box((0, 0, size[2] / 2), size, "metal")


def _bench(rng: np.random.Generator) -> Mesh:
    parts = [
        box((0, 0, 0.45), (1.6, 0.45, 0.06), "wood"),
        box((0, 0.2, 0.75), (1.6, 0.05, 0.5), "wood"),
    ]
    parts += [box((s * 0.65, 0, 0.22), (0.08, 0.4, 0.44), "metal") for s in (-1, 1)]
    return merge(parts)


def _shelter(rng: np.random.Generator) -> Mesh:
    parts = [
        box((0, 0, 2.4), (3.6, 1.5, 0.12), "metal"),
        box((0, 0.7, 1.2), (3.6, 0.05, 2.2), "glass"),
    ]
    parts += [box((x, 0.7, 1.2), (0.08, 0.08, 2.4), "metal") for x in (-1.7, 0, 1.7)]
    parts.append(box((0, 0.4, 0.45), (2.4, 0.4, 0.1), "metal"))
    return merge(parts)


_FURNITURE = (_lamp, tree, _sign, bush, _bin, _bollard, _hydrant, _cabinet, _bench, _shelter)
_FURNITURE_SHARE = (0.17, 0.27, 0.15, 0.07, 0.08, 0.1, 0.04, 0.05, 0.04, 0.03)


def furniture(rng: np.random.Generator) -> Mesh:
    """One piece of street furniture or a street tree; the base is z = 0."""
    return _FURNITURE[rng.choice(len(_FURNITURE), p=_FURNITURE_SHARE)](rng)


def pile(rng: np.random.Generator) -> Mesh:
    """A heap of earth, a stack of boards or pipes on a building site."""
    kind = rng.random()
    if kind < 0.4:
        return ball((0, 0, 0), rng.uniform([1, 1, 0.5], [3, 2.5, 1.6]), "grass")
    if kind < 0.7:
        size = rng.uniform([1.5, 0.8, 0.4], [4, 1.5, 1.4])
        return box((0, 0, size[2] / 2), size, "wood")
    return merge([cylinder((0, y, 0.3), 0.3, 4.0, "concrete", axis="x") for y in (-0.6, 0, 0.6)])
