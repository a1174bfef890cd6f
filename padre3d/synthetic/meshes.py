"""Triangle meshes with a material per triangle, and the primitives that shapes are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# name -> (intensity at normal incidence 0-255, chance that a hit gives no return)
MATERIALS: dict[str, tuple[float, float]] = {
    "asphalt": (20.0, 0.0),
    "paint_line": (75.0, 0.0),
    "pavement": (30.0, 0.0),
    "grass": (36.0, 0.01),
    "concrete": (40.0, 0.0),
    "brick": (26.0, 0.0),
    "stone": (70.0, 0.0),
    "wood": (24.0, 0.01),
    "metal": (34.0, 0.02),
    "glass": (6.0, 0.4),
    "rubber": (5.0, 0.05),
    "leaves": (26.0, 0.05),
    "cloth": (16.0, 0.01),
    "skin": (28.0, 0.01),
    "plastic": (40.0, 0.01),
    "reflector": (200.0, 0.0),
    "paint_dark": (6.0, 0.08),
    "paint_grey": (20.0, 0.03),
    "paint_light": (48.0, 0.01),
    "paint_bright": (75.0, 0.01),
}
MATERIAL_NAMES = tuple(MATERIALS)
MATERIAL_ID = {name: i for i, name in enumerate(MATERIAL_NAMES)}


@dataclass
class Mesh:
    """Triangles of one object.

    Attributes:
        vertices: (V, 3) metres.
        faces: (F, 3) int32 rows of vertices.
        material: (F,) int16 index into ``MATERIAL_NAMES``.
        swing: (V,) forward metres a vertex moves at the extreme of a walking step.
    """

    vertices: Array
    faces: NDArray[np.int32]
    material: NDArray[np.int16]
    swing: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.swing) != len(self.vertices):
            self.swing = np.zeros(len(self.vertices))

    def moved(self, offset_m: Sequence[float], yaw: float = 0.0, pitch: float = 0.0) -> Mesh:
        """The mesh pitched about y (nose down is positive), turned about z, then shifted."""
        turn = rotation(yaw, pitch)
        vertices = self.vertices @ turn.T + np.asarray(offset_m, float)
        return Mesh(vertices, self.faces, self.material, self.swing)


def rotation(yaw: float, pitch: float = 0.0) -> Array:
    """Rotation matrix Rz(yaw) Ry(pitch), radians."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[cy * cp, -sy, cy * sp], [sy * cp, cy, sy * sp], [-sp, 0.0, cp]])


def merge(parts: Sequence[Mesh]) -> Mesh:
    """One mesh of all parts, in their order."""
    first = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return Mesh(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + n for p, n in zip(parts, first, strict=True)]).astype(np.int32),
        np.concatenate([p.material for p in parts]),
        np.concatenate([p.swing for p in parts]),
    )


def fit_to_box(mesh: Mesh, size_lwh_m: Sequence[float], fill: float = 0.985) -> Mesh:
    """Scale a mesh about its centre so that it fills ``fill`` of a box centred at the origin."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    scale = fill * np.asarray(size_lwh_m, float) / (high - low)
    return Mesh((mesh.vertices - (low + high) / 2) * scale, mesh.faces, mesh.material, mesh.swing)


def _mesh(vertices: Array, faces: Sequence[Sequence[int]] | NDArray, material: str) -> Mesh:
    triangles = np.asarray(faces, np.int32)
    ids = np.full(len(triangles), MATERIAL_ID[material], np.int16)
    return Mesh(np.asarray(vertices, float), triangles, ids)


_BOX_FACES = [
    (0, 1, 3),
    (0, 3, 2),
    (4, 6, 7),
    (4, 7, 5),
    (0, 4, 5),
    (0, 5, 1),
    (2, 3, 7),
    (2, 7, 6),
    (0, 2, 6),
    (0, 6, 4),
    (1, 5, 7),
    (1, 7, 3),
]


def box(
    centre_m: Sequence[float] | Array,
    size_m: Sequence[float] | Array,
    material: str,
    top: tuple[float, float] = (1.0, 1.0),
) -> Mesh:
    """A box whose upper face is scaled by ``top`` along x and y (a frustum where below 1)."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float) / 2
    upper = corners[:, 2] > 0
    corners[upper, :2] *= top
    return _mesh(corners * np.asarray(size_m) + np.asarray(centre_m), _BOX_FACES, material)


def cylinder(
    centre_m: Sequence[float] | Array,
    radius_m: float,
    length_m: float,
    material: str,
    axis: str = "z",
    sides: int = 8,
    taper: float = 1.0,
) -> Mesh:
    """A closed cylinder along an axis; the far end has ``taper`` times the radius."""
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) * radius_m
    low = np.column_stack([ring, np.full(sides, -length_m / 2)])
    high = np.column_stack([ring * taper, np.full(sides, length_m / 2)])
    ends = np.array([[0, 0, -length_m / 2], [0, 0, length_m / 2]])
    vertices = np.concatenate([low, high, ends])
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = np.concatenate(
        [
            np.stack([i, j, j + sides], 1),
            np.stack([i, j + sides, i + sides], 1),
            np.stack([j, i, np.full(sides, 2 * sides)], 1),
            np.stack([i + sides, j + sides, np.full(sides, 2 * sides + 1)], 1),
        ]
    )
    order = {"x": [2, 0, 1], "y": [1, 2, 0], "z": [0, 1, 2]}[axis]
    return _mesh(vertices[:, order] + np.asarray(centre_m), faces, material)


def prism(profile_xz_m: Sequence[Sequence[float]], width_m: float, material: str) -> Mesh:
    """A polygon in the x-z plane, star-shaped about its mean, extruded along y about 0."""
    outline = np.asarray(profile_xz_m, float)
    n = len(outline)
    rim = np.concatenate([outline, outline.mean(0, keepdims=True)])
    sides = [np.column_stack([rim[:, 0], np.full(n + 1, y), rim[:, 1]]) for y in (-1, 1)]
    vertices = np.concatenate(sides) * [1.0, width_m / 2, 1.0]
    i, j = np.arange(n), (np.arange(n) + 1) % n
    m = n + 1
    faces = np.concatenate(
        [
            np.stack([i, j, np.full(n, n)], 1),
            np.stack([j + m, i + m, np.full(n, n + m)], 1),
            np.stack([i, i + m, j + m], 1),
            np.stack([i, j + m, j], 1),
        ]
    )
    return _mesh(vertices, faces, material)


def ball(
    centre_m: Sequence[float] | Array, radii_m: Sequence[float] | Array, material: str
) -> Mesh:
    """A coarse ellipsoid of 6 x 3 facets."""
    rows, sides = 3, 6
    lat = np.pi * (np.arange(1, rows + 1) / (rows + 1) - 0.5)
    lon = 2 * np.pi * np.arange(sides) / sides
    grid = np.stack(
        [
            np.outer(np.cos(lat), np.cos(lon)),
            np.outer(np.cos(lat), np.sin(lon)),
            np.repeat(np.sin(lat)[:, None], sides, 1),
        ],
        -1,
    ).reshape(-1, 3)
    vertices = np.concatenate([grid, [[0, 0, -1], [0, 0, 1]]])
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = [np.stack([j, i, np.full(sides, rows * sides)], 1)]
    for row in range(rows - 1):
        a, b = row * sides, (row + 1) * sides
        faces += [np.stack([a + i, a + j, b + j], 1), np.stack([a + i, b + j, b + i], 1)]
    top = (rows - 1) * sides
    faces.append(np.stack([top + i, top + j, np.full(sides, rows * sides + 1)], 1))
    return _mesh(vertices * radii_m + np.asarray(centre_m), np.concatenate(faces), material)


def leaf_cloud(
    rng: np.random.Generator,
    centre_m: Sequence[float] | Array,
    radii_m: Sequence[float] | Array,
    count: int,
    leaf_m: float,
) -> Mesh:
    """Loose random triangles filling an ellipsoid, denser towards its surface: foliage."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    centres = direction * (rng.uniform(0.15, 1.0, (count, 1)) ** 0.5) * radii_m
    corners = centres[:, None] + rng.normal(scale=leaf_m / 2, size=(count, 3, 3))
    vertices = corners.reshape(-1, 3) + np.asarray(centre_m)
    return _mesh(vertices, np.arange(3 * count).reshape(-1, 3), "leaves")
