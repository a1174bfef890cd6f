"""A spinning 32-beam LiDAR (HDL-32E pattern) that ray-casts triangle meshes with embree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from padre3d.synthetic.meshes import MATERIALS, Array, Mesh, box, merge

NUM_BEAMS = 32
NUM_COLUMNS = 1084
ELEVATION_RANGE_DEG = (-30.67, 10.67)
SWEEP_S = 0.05
RANGE_NOISE_M = 0.02
RANGE_STEP_M = 0.002
MAX_RANGE_M = 105.0
LIDAR_IN_EGO_M = (0.943713, 0.0, 1.84023)

_ALBEDO = np.array([m[0] for m in MATERIALS.values()])
_LOSS = np.array([m[1] for m in MATERIALS.values()])
_GLOBAL_LOSS = 0.004


def beam_directions() -> Array:
    """Unit directions (columns, beams, 3) in the LiDAR frame, in firing order.

    Beam 0 looks down most. The head turns clockwise seen from above and starts at -x.
    """
    elevation = np.radians(np.linspace(*ELEVATION_RANGE_DEG, NUM_BEAMS))
    azimuth = np.pi - 2 * np.pi * np.arange(NUM_COLUMNS) / NUM_COLUMNS
    flat = np.stack([np.cos(azimuth), np.sin(azimuth)], 1)[:, None] * np.cos(elevation)[:, None]
    up = np.broadcast_to(np.sin(elevation), (NUM_COLUMNS, NUM_BEAMS))
    return np.concatenate([flat, up[..., None]], -1)


def _embree_scene(vertices: Array, faces: NDArray[np.int32]) -> object:
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise ImportError("the synthetic LiDAR needs embree: pip install embreex") from error
    scene = EmbreeScene()
    TriangleMesh(scene, vertices.astype(np.float32), np.ascontiguousarray(faces, np.int32))
    return scene


class Target:
    """Triangles that can be hit.

    Args:
        mesh: vertices in the frame of the rays.
        texture: (F,) factor on each triangle's brightness.
    """

    def __init__(self, mesh: Mesh, texture: Array | None = None) -> None:
        self._scene = _embree_scene(mesh.vertices, mesh.faces)
        self._material = mesh.material
        self._texture = np.ones(len(mesh.faces)) if texture is None else texture

    def cast(
        self,
        hits: Hits,
        origin: NDArray[np.float32],
        direction: NDArray[np.float32],
        rays: NDArray[np.intp] | slice = slice(None),
    ) -> None:
        """Keep in ``hits`` what is nearer here than what was found so far."""
        along = direction[rays]
        nearest = self._scene.run(origin[rays], along, output=True)  # type: ignore[attr-defined]
        face, distance = nearest["primID"], nearest["tfar"]
        index = np.arange(len(hits.range_m))[rays]
        nearer = (face >= 0) & (distance < hits.range_m[index])
        index, face = index[nearer], face[nearer]
        normal = nearest["Ng"][nearer]
        length = np.sqrt(np.einsum("ij,ij->i", normal, normal)) + 1e-12
        cosine = np.abs(np.einsum("ij,ij->i", normal, along[nearer])) / length
        material = self._material[face]
        hits.range_m[index] = distance[nearer]
        hits.loss[index] = _LOSS[material]
        hits.echo[index] = _ALBEDO[material] * self._texture[face] * (0.2 + 0.8 * cosine)


class Hits:
    """First hits of a set of rays.

    Attributes:
        range_m: inf without a hit.
        echo: intensity 0-255 that comes back.
        loss: chance that it does not come back, from the material.
    """

    def __init__(self, count: int) -> None:
        self.range_m = np.full(count, np.inf, np.float32)
        self.echo = np.zeros(count, np.float32)
        self.loss = np.zeros(count, np.float32)


class Lidar:
    """The sensor on the ego vehicle.

    Args:
        static: all triangles that never move, in the global frame.
        rng: draws the brightness of each static triangle.
        ego_in_lidar: rotation (3, 3) and translation (3,) from the ego to the LiDAR frame.
    """

    def __init__(
        self, static: Mesh, rng: np.random.Generator, ego_in_lidar: tuple[Array, Array]
    ) -> None:
        self._static = Target(static, rng.lognormal(0.0, 0.3, len(static.faces)))
        self.directions = beam_directions()
        flat = self.directions.reshape(-1, 3).astype(np.float32)
        body = _ego_body()
        vertices = body.vertices @ ego_in_lidar[0].T + ego_in_lidar[1]
        self._own = Hits(len(flat))
        Target(Mesh(vertices, body.faces, body.material)).cast(self._own, np.zeros_like(flat), flat)

    def sweep(
        self,
        poses: tuple[tuple[Array, Array], tuple[Array, Array]],
        moving: Sequence[Mesh],
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """One turn of the head.

        Args:
            poses: LiDAR-to-global (rotation, translation) when the turn starts and ends.
            moving: meshes in the global frame, as they are when the turn ends.
            rng: draws noise and lost returns.

        Returns:
            (columns * beams, 5) x, y, z, intensity, ring in the LiDAR frame at the end of the
            turn. As in the real files a lost return is a point at the LiDAR's place of firing.
        """
        origin, direction = self._rays(poses)
        hits = Hits(len(origin))
        self._static.cast(hits, origin, direction)
        if moving:
            rays = self._rays_towards(moving, poses[1])
            if len(rays):
                Target(merge(moving)).cast(hits, origin, direction, rays)
        own = self._own.range_m < hits.range_m
        for name in ("range_m", "echo", "loss"):
            getattr(hits, name)[own] = getattr(self._own, name)[own]
        range_m, intensity = _measure(hits, rng)
        points = np.empty((len(origin), 5), np.float32)
        rotation, translation = poses[1]
        shift = (origin - translation) @ rotation
        points[:, :3] = shift + range_m[:, None] * (direction @ rotation)
        points[:, 3] = intensity
        points[:, 4] = np.tile(np.arange(NUM_BEAMS), NUM_COLUMNS)
        return points

    def _rays(self, poses: tuple) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Origins and directions in the global frame while the vehicle drives on."""
        (r0, t0), (r1, t1) = poses
        part = (np.arange(NUM_COLUMNS) + 1) / NUM_COLUMNS
        turn = r0 + part[:, None, None] * (r1 - r0)
        direction = np.einsum("cij,cbj->cbi", turn, self.directions)
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        origin = np.repeat(t0 + part[:, None] * (t1 - t0), NUM_BEAMS, 0)
        return origin.astype(np.float32), direction.reshape(-1, 3).astype(np.float32)

    def _rays_towards(self, moving: Sequence[Mesh], pose: tuple[Array, Array]) -> NDArray[np.intp]:
        """Rays that may hit a mesh: those near the cone around its bounding sphere."""
        wanted = np.zeros((NUM_COLUMNS, NUM_BEAMS), bool)
        low_deg, high_deg = ELEVATION_RANGE_DEG
        for mesh in moving:
            low, high = mesh.vertices.min(0), mesh.vertices.max(0)
            centre = ((low + high) / 2 - pose[1]) @ pose[0]
            distance = float(np.linalg.norm(centre))
            # The sensor moves by up to 1 m during a turn.
            radius = float(np.linalg.norm(high - low)) / 2 + 1.0
            half = np.arcsin(min(radius / distance, 1.0)) if distance > radius else np.pi
            bearing = np.pi - np.arctan2(centre[1], centre[0])
            step = 2 * np.pi / NUM_COLUMNS
            columns = np.arange(np.floor((bearing - half) / step), np.ceil((bearing + half) / step))
            up, spread = np.degrees(np.arcsin(centre[2] / distance)), np.degrees(half)
            beams = (np.array([up - spread, up + spread]) - low_deg) / (high_deg - low_deg) * 31
            first, last = max(int(np.floor(beams[0])), 0), min(int(np.ceil(beams[1])) + 1, 32)
            columns = columns[:NUM_COLUMNS].astype(int) % NUM_COLUMNS
            wanted[columns, first : max(last, 0)] = True
        return np.flatnonzero(wanted)


def _measure(hits: Hits, rng: np.random.Generator) -> tuple[Array, Array]:
    """Measured range (0 where lost) and intensity of each ray."""
    count = len(hits.range_m)
    true_m = np.where(np.isfinite(hits.range_m), hits.range_m, 1e3)
    # Power falls with the square of range: a weak echo is lost more often.
    signal = hits.echo / (true_m / 50.0) ** 2
    seen = (1 - np.exp(-signal / 3.0)) * (1 - hits.loss) * (1 - _GLOBAL_LOSS)
    returned = (rng.random(count) < seen) & (true_m < MAX_RANGE_M)
    noisy = true_m + rng.normal(scale=RANGE_NOISE_M, size=count)
    noisy = np.round(noisy / RANGE_STEP_M) * RANGE_STEP_M
    intensity = hits.echo * rng.lognormal(0.0, 0.12, count)
    stray = rng.integers(1, 20, count)
    intensity = np.where(returned, np.clip(np.round(intensity), 0, 255), stray)
    return np.where(returned, np.maximum(noisy, 0.0), 0.0), intensity


def _ego_body() -> Mesh:
    """Roof, bonnet and boot of the ego vehicle in its own frame (rear axle at the origin)."""
    return merge(
        [
            box((0.75, 0, 1.44), (1.5, 1.05, 0.06), "paint_light"),
            box((2.45, 0, 0.9), (1.3, 1.35, 0.1), "paint_light"),
            box((1.9, 0, 1.1), (0.3, 1.2, 0.4), "glass"),
        ]
    )
