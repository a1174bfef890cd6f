"""The ground: a curved, hilly street with side streets, given in street coordinates.

Street coordinates are ``s`` metres along the centre line and ``d`` metres to its left.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from padre3d.synthetic.meshes import MATERIAL_ID, Array, Mesh

LANE_M = 3.5
BIKE_LANE_M = 1.6
PARKING_M = 2.6
KERB_M = 0.15
MARGIN_M = 110.0


class Street:
    """The layout of one scene, drawn from ``rng``.

    Args:
        rng: the scene's generator.
        travel_m: how far the ego vehicle may drive; the street reaches ``MARGIN_M`` further.

    Attributes:
        lanes: lanes per direction.
        half_width_m: from the centre line to the kerb.
        crossings: for each side street its ``s``, half width and whether the main street has green.
    """

    def __init__(self, rng: np.random.Generator, travel_m: float) -> None:
        self.lanes = int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
        self.median_m = float(rng.choice([0.0, 0.3, 2.0], p=[0.4, 0.3, 0.3]))
        self.sidewalk_m = float(rng.uniform(2.5, 5.0))
        self.half_width_m = self.median_m / 2 + self.lanes * LANE_M + BIKE_LANE_M + PARKING_M
        self.start_m, self.end_m = -MARGIN_M, travel_m + MARGIN_M
        self._s = np.arange(self.start_m - 40, self.end_m + 40, 0.5)
        self._draw_course(rng)
        self._draw_height(rng)
        self.crossings = self._draw_crossings(rng)

    def _draw_course(self, rng: np.random.Generator) -> None:
        wave_m = rng.uniform(250, 600)
        # The radius stays above 170 m, so that street coordinates are one-to-one for |d| < 120 m.
        bend = rng.uniform(0, 1) * wave_m / (2 * np.pi * 170)
        heading = rng.uniform(-np.pi, np.pi)
        heading += bend * np.sin(2 * np.pi * self._s / wave_m + rng.uniform(0, 2 * np.pi))
        self._heading = heading
        x, y = np.cumsum(0.5 * np.cos(heading)), np.cumsum(0.5 * np.sin(heading))
        # All coordinates are positive, as on the real maps.
        self._x, self._y = x - x.min() + 150, y - y.min() + 150

    def _draw_height(self, rng: np.random.Generator) -> None:
        waves = rng.uniform([60, 60, 120, 300], [120, 160, 300, 700])
        angle = rng.uniform(0, 2 * np.pi, 4)
        slope = rng.uniform(0.2, 1.0, 4) * [0.006, 0.008, 0.012, 0.02]
        self._wave_k = 2 * np.pi / waves[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        self._wave_height_m = slope * waves / (2 * np.pi)
        self._wave_phase = rng.uniform(0, 2 * np.pi, 4)

    def _draw_crossings(self, rng: np.random.Generator) -> list[tuple[float, float, bool]]:
        crossings = []
        s = rng.uniform(-60, 40)
        while s < self.end_m - 40:
            crossings.append((float(s), float(rng.choice([4.5, 6.0])), bool(rng.random() < 0.55)))
            s += rng.uniform(90, 170)
        return crossings

    def terrain_m(self, xy: ArrayLike) -> Array:
        """Height of the bare terrain at global ``(..., 2)`` points."""
        phase = np.asarray(xy, float) @ self._wave_k.T + self._wave_phase
        return np.sin(phase) @ self._wave_height_m

    def slope(self, xy: ArrayLike) -> Array:
        """Gradient (..., 2) of the terrain."""
        phase = np.asarray(xy, float) @ self._wave_k.T + self._wave_phase
        return (np.cos(phase) * self._wave_height_m) @ self._wave_k

    def heading(self, s: ArrayLike) -> Array:
        """Direction of the centre line, radians."""
        return np.interp(np.asarray(s, float), self._s, self._heading)

    def xy(self, s: ArrayLike, d: ArrayLike) -> Array:
        """Global ``(..., 2)`` points of street coordinates."""
        heading = self.heading(s)
        x = np.interp(np.asarray(s, float), self._s, self._x) - np.asarray(d) * np.sin(heading)
        y = np.interp(np.asarray(s, float), self._s, self._y) + np.asarray(d) * np.cos(heading)
        return np.stack([x, y], -1)

    def on_road(self, s: ArrayLike, d: ArrayLike) -> NDArray[np.bool_]:
        """Whether a place is on asphalt (the street or a side street)."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        road = np.abs(d) < self.half_width_m - 1e-6
        if self.median_m > 1:
            road = road & (np.abs(d) > self.median_m / 2 - 1e-6)
        for centre, half, _ in self.crossings:
            road = road | (np.abs(s - centre) < half)
        return road

    def near_crossing(self, s: float, margin_m: float) -> bool:
        """Whether ``s`` lies within a side street widened by ``margin_m``."""
        return any(abs(s - centre) < half + margin_m for centre, half, _ in self.crossings)

    def ground_m(self, s: ArrayLike, d: ArrayLike) -> Array:
        """Height of the ground, kerbs included."""
        raised = np.where(self.on_road(s, d), 0.0, KERB_M)
        return self.terrain_m(self.xy(s, d)) + raised

    def lane_centre_m(self, lane: int, direction: int) -> float:
        """``d`` of a lane's middle; direction 1 drives along ``+s`` on the right-hand side."""
        return -direction * (self.median_m / 2 + (lane + 0.5) * LANE_M)

    def mesh(self, rng: np.random.Generator) -> Mesh:
        """The ground as a grid of triangles in street coordinates, with kerbs and markings."""
        d_edges, s_edges = self._d_edges(), self._s_edges()
        d_mid, s_mid = (d_edges[:-1] + d_edges[1:]) / 2, (s_edges[:-1] + s_edges[1:]) / 2
        s_cell, d_cell = np.meshgrid(s_mid, d_mid, indexing="ij")
        s_grid, d_grid = np.meshgrid(s_edges, d_edges, indexing="ij")
        xy = self.xy(s_grid, d_grid)
        z = self.ground_m(s_grid, d_grid)
        rough = np.abs(d_grid) > self.half_width_m + self.sidewalk_m
        rough &= ~self.on_road(s_grid, d_grid)
        z += rng.normal(size=z.shape) * np.where(rough, 0.05, 0.006)
        vertices = np.concatenate([xy, z[..., None]], -1).reshape(-1, 3)
        index = np.arange(len(s_edges) * len(d_edges)).reshape(len(s_edges), len(d_edges))
        a, b = index[:-1, :-1].ravel(), index[1:, :-1].ravel()
        c, e = index[1:, 1:].ravel(), index[:-1, 1:].ravel()
        faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, e], 1)]).astype(np.int32)
        material = self._materials(s_cell, d_cell).ravel()
        return Mesh(vertices, faces, np.concatenate([material, material]))

    def _markings(self) -> list[float]:
        edges = [self.median_m / 2 + n * LANE_M for n in range(self.lanes + 1)]
        return edges + [self.half_width_m - PARKING_M]

    def _d_edges(self) -> Array:
        paint = np.array(self._markings())
        kerb = self.half_width_m
        walk = kerb + self.sidewalk_m
        right = np.concatenate(
            [
                paint - 0.07,
                paint + 0.07,
                np.arange(1.0, kerb, 1.5),
                [kerb - 0.01, kerb + 0.03],
                [kerb + 0.5 * self.sidewalk_m, walk],
                np.arange(walk + 2, 118, 3.0),
            ]
        )
        if self.median_m > 1:
            right = np.concatenate([right, [self.median_m / 2 - 0.03, self.median_m / 2 + 0.01]])
        right = np.unique(right[right > 0.05].round(3))
        return np.concatenate([-right[::-1], [0.0], right])

    def _s_edges(self) -> Array:
        edges = [np.arange(self.start_m, self.end_m, 2.0)]
        for centre, half, _ in self.crossings:
            edges.append(centre + np.array([-half - 0.03, -half + 0.01, half - 0.01, half + 0.03]))
        return np.unique(np.concatenate(edges).round(3))

    def _materials(self, s: Array, d: Array) -> NDArray[np.int16]:
        side, road = np.abs(d), self.on_road(s, d)
        name = np.full(s.shape, MATERIAL_ID["grass"], np.int16)
        name[side < self.half_width_m + self.sidewalk_m] = MATERIAL_ID["pavement"]
        name[road] = MATERIAL_ID["asphalt"]
        junction = np.zeros(s.shape, bool)
        for centre, half, _ in self.crossings:
            junction |= np.abs(s - centre) < half + 1
        markings = self._markings()
        for n, at in enumerate(markings):
            solid = n in (0, self.lanes)
            painted = (np.abs(side - at) < 0.1) & (solid | (np.mod(s, 8.0) < 3.0))
            name[painted & road & ~junction] = MATERIAL_ID["paint_line"]
        return name

    def write_mask(self, path: Path, resolution_m: float = 0.1) -> None:
        """Write the drivable surface as the 1-bit PNG that the devkit's MapMask reads."""
        from PIL import Image, ImageDraw

        width_m, height_m = self._x.max() + 150, self._y.max() + 150
        size = (int(width_m / resolution_m), int(height_m / resolution_m))
        image = Image.new("1", size)
        draw = ImageDraw.Draw(image)
        s = np.arange(self.start_m, self.end_m, 2.0)
        areas = [(s, np.full(len(s), d)) for d in (-self.half_width_m, self.half_width_m)]
        outlines = [np.concatenate([self.xy(*areas[0]), self.xy(*areas[1])[::-1]])]
        for centre, half, _ in self.crossings:
            ends = np.array([(-half, -118), (half, -118), (half, 118), (-half, 118)])
            outlines.append(self.xy(centre + ends[:, 0], ends[:, 1]))
        for outline in outlines:
            pixels = outline / resolution_m
            pixels[:, 1] = size[1] - pixels[:, 1]
            draw.polygon([tuple(p) for p in pixels], fill=1)
        image.save(path)
