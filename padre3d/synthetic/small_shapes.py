"""Shapes of cycles, people, cones and barriers; see actor_shapes.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from padre3d.synthetic.meshes import Mesh, ball, box, cylinder, prism


def beam(start_xz: np.ndarray, end_xz: np.ndarray, thick: float, material: str) -> Mesh:
    """A square beam in the x-z plane."""
    dx, dz = end_xz - start_xz
    mid = (start_xz + end_xz) / 2
    beam = box((0, 0, 0), (float(np.hypot(dx, dz)), thick, thick), material)
    return beam.moved((mid[0], 0, mid[1]), pitch=-float(np.arctan2(dz, dx)))


def _rider(seat_x: float, seat_z: float, top_z: float, cloth: str) -> list[Mesh]:
    body = top_z - seat_z
    torso = box((seat_x + 0.12, 0, seat_z + 0.36 * body), (0.28, 0.42, 0.66 * body), cloth)
    head = ball((seat_x + 0.25, 0, top_z - 0.12), (0.11, 0.1, 0.12), "skin")
    limbs = []
    for side in (-1, 1):
        limbs.append(box((seat_x + 0.15, side * 0.14, seat_z - 0.22), (0.3, 0.13, 0.4), "cloth"))
        limbs.append(
            box((seat_x + 0.38, side * 0.2, seat_z + 0.42 * body), (0.4, 0.09, 0.1), cloth)
        )
    return [torso, head, *limbs]


def _cycle(length: float, width: float, height: float, rider: bool, motor: bool) -> list[Mesh]:
    radius = min(0.3 if motor else 0.34, 0.24 * length)
    thick = 0.13 if motor else 0.05
    bike_height = (0.66 if motor else 0.6) * height if rider else height
    x = length / 2 - radius
    parts = [
        cylinder((s * x, 0, radius), radius, thick, "rubber", axis="y", sides=10) for s in (-1, 1)
    ]
    saddle = 0.8 * bike_height
    if motor:
        parts.append(box((0, 0, 1.3 * radius), (0.5 * length, 0.3, radius), "metal"))
        parts.append(box((-0.2 * length, 0, saddle), (0.45 * length, 0.28, 0.18), "plastic"))
        tank_m = (0.25 * length, 0.32, 0.3)
        parts.append(box((0.18 * length, 0, 0.9 * saddle), tank_m, "paint_grey"))
    else:
        joints = [
            ((-x, radius), (-0.1 * length, saddle)),
            ((-0.1 * length, saddle), (x - 0.2, saddle)),
            ((-0.05 * length, radius), (x - 0.2, saddle)),
            ((-0.1 * length, saddle), (-0.05 * length, radius)),
        ]
        parts += [beam(np.array(a), np.array(b), 0.06, "metal") for a, b in joints]
        parts.append(box((-0.12 * length, 0, saddle + 0.05), (0.26, 0.15, 0.07), "plastic"))
    parts.append(beam(np.array([x, radius]), np.array([x - 0.25, bike_height]), 0.07, "metal"))
    parts.append(box((x - 0.25, 0, bike_height - 0.04), (0.06, width, 0.06), "metal"))
    if rider:
        parts += _rider(-0.12 * length, saddle, height, "cloth")
    return parts


def cycle_builder(rider: bool, motor: bool) -> Callable[..., list[Mesh]]:
    """A builder of cycles, with or without rider and motor."""
    return lambda length, width, height, rng: _cycle(length, width, height, rider, motor)


def pedestrian(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    """A person in a stride."""
    hip, neck = 0.5 * height, 0.84 * height
    cloth = str(rng.choice(["cloth", "paint_dark", "paint_grey", "paint_light"]))
    stride = 0.32 * length
    parts = [
        box((0, 0, (hip + neck) / 2), (0.24, 0.62 * width, neck - hip), cloth, top=(0.9, 0.95)),
        ball((0.02, 0, 0.91 * height), (0.1, 0.085, 0.085 * height), "skin"),
    ]
    for side in (-1, 1):
        leg = box((0, side * 0.13 * width / 0.67, hip / 2), (0.16, 0.15, hip), "cloth")
        leg.swing = side * stride * np.clip(1 - leg.vertices[:, 2] / hip, 0, 1)
        shoulder = side * (0.5 * width - 0.055)
        arm = box((0, shoulder, 0.66 * height), (0.11, 0.1, 0.34 * height), cloth)
        arm.swing = -side * 0.6 * stride * (arm.vertices[:, 2] < 0.6 * height)
        parts += [leg, arm]
    if rng.random() < 0.25:
        parts.append(box((0.1 - length / 2, 0, 0.68 * height), (0.2, 0.34, 0.45), "cloth"))
    return parts


def cone(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    """A traffic cone or a delineator post."""
    if rng.random() < 0.25:  # a delineator post
        post = cylinder((0, 0, height / 2), 0.12 * length / 0.4, height, "plastic", sides=6)
    else:
        post = cylinder((0, 0, height / 2), 0.4 * length, height, "plastic", sides=8, taper=0.15)
    collar = cylinder(
        (0, 0, 0.66 * height), 0.26 * length, 0.16 * height, "reflector", sides=8, taper=0.8
    )
    return [post, collar, box((0, 0, 0.03), (length, width, 0.06), "rubber")]


def barrier(length: float, width: float, height: float, rng: np.random.Generator) -> list[Mesh]:
    """A barrier; its long side is its width."""
    # The long side of a barrier is its width; its short side faces forward.
    half, kind = length / 2, rng.random()
    if kind < 0.6:  # jersey profile
        waist = 0.35 * height
        profile = [
            (-half, 0),
            (-half, 0.1 * height),
            (-0.45 * half, waist),
            (-0.3 * half, height),
            (0.3 * half, height),
            (0.45 * half, waist),
            (half, 0.1 * height),
            (half, 0),
        ]
        parts = [prism(profile, width, str(rng.choice(["concrete", "plastic", "paint_bright"])))]
    else:  # boards on two stands
        parts = [
            box((0, s * 0.4 * width, height / 2), (0.1, 0.08, height), "metal") for s in (-1, 1)
        ]
        parts += [box((0, s * 0.4 * width, 0.05), (length, 0.1, 0.1), "metal") for s in (-1, 1)]
        parts += [
            box((0, 0, z * height), (0.05, width, 0.22 * height), "plastic") for z in (0.45, 0.85)
        ]
    parts.append(box((0, 0.3 * width, 0.8 * height), (0.3 * length, 0.2, 0.12), "reflector"))
    return parts
