"""The pillar encoder in numpy: points to pillars with the weights of the trained one.

It stays out of the graph because its maximum over a pillar's points is a scatter with a reduction,
which TensorRT does not build and NPUs do not have; onnxruntime has it, single-threaded. Pillars
with similar numbers of points go through all layers together, two thousand points at a time, so
that what lies between points and features stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

BLOCK_POINTS = 2048


class Grid(NamedTuple):
    """Range and cell size of a pillar grid, as :class:`padre3d.structures.grid.PillarGrid`."""

    range_m: tuple[float, ...]
    cell_m: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along y and x."""
        low, high = self.range_m[:2], self.range_m[3:5]
        nx, ny = (round((b - a) / cell) for a, b, cell in zip(low, high, self.cell_m, strict=True))
        return ny, nx

    def centres_m(self, cells: np.ndarray) -> np.ndarray:
        """Centres (N, 2) ``[x, y]`` of cell ids ``y * nx + x``, float32."""
        xy = np.stack([cells % self.shape[1], cells // self.shape[1]], 1).astype(np.float32)
        return (xy + np.float32(0.5)) * np.float32(self.cell_m) + np.float32(self.range_m[:2])


class Groups(NamedTuple):
    """Points by pillar: those of pillar i are ``order[first[i] : first[i] + counts[i]]``."""

    order: np.ndarray
    first: np.ndarray
    counts: np.ndarray


class PillarEncoder:
    """Points to one feature vector per occupied pillar.

    Args:
        grid: the pillar grid.
        tables: arrays of :func:`padre3d.export.runtime_tables.runtime_tables`.
        columns: of a point.
    """

    def __init__(self, grid: Grid, tables: Mapping[str, Any], columns: int) -> None:
        self.grid, self.columns = grid, columns
        count = sum(name.startswith("weight") for name in tables)
        if count == 0:
            raise ValueError("pillar encoder: expected at least one layer in the tables, got none")
        self._layers = [
            (
                np.split(tables[f"weight{i}"], [int(tables[f"point_channels{i}"])]),
                tables[f"shift{i}"],
            )
            for i in range(count)
        ]
        # The offset to the pillar's mean is that to its centre less a constant of the pillar.
        (own, none), shift = self._layers[0]
        point, self._of_mean, of_centre = np.split(own, [columns, columns + 3])
        self._layers[0] = [np.concatenate([point, self._of_mean + of_centre]), none], shift

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (P, columns) float32 -> features (N, C) and their ascending cell ids (N,)."""
        points, cells = in_range(points, self.grid)
        channels = len(self._layers[-1][1])
        if len(cells) == 0:
            return np.zeros((0, channels), np.float32), cells
        groups, occupied = _group(cells)
        inputs, of_pillar = self._describe(points[groups.order], groups.counts, occupied)
        features = np.empty((len(occupied), channels), np.float32)
        for pillars, rows in _blocks(groups):
            features[pillars] = self._encode(inputs[rows], of_pillar[pillars])
        return features, occupied

    def _describe(
        self, points: np.ndarray, counts: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points and their offsets to the pillar's centre (P, columns + 3), and what the first
        layer makes of the pillar's mean (N, C)."""
        centres = np.empty((len(cells), 3), np.float32)
        centres[:, :2] = self.grid.centres_m(cells)
        centres[:, 2] = (self.grid.range_m[2] + self.grid.range_m[5]) / 2
        rows = np.repeat(np.arange(len(cells)), counts)
        inputs = np.empty((len(points), self.columns + 3), np.float32)
        inputs[:, : self.columns] = points
        mean = np.empty((len(cells), 3), np.float32)
        for axis in range(3):
            offset = points[:, axis] - centres[rows, axis]
            inputs[:, self.columns + axis] = offset
            mean[:, axis] = np.bincount(rows, weights=offset) / counts
        return inputs, -(mean @ self._of_mean)

    def _encode(self, inputs: np.ndarray, of_pillar: np.ndarray) -> np.ndarray:
        """Layers in turn, on the points (n, m, columns + 3) of m pillars -> (m, C)."""
        n, m, _ = inputs.shape
        x, shared = inputs, np.zeros((m, 0), np.float32)
        for i, ((own, common), shift) in enumerate(self._layers):
            of_pillar = shared @ common + (shift if i else of_pillar + shift)
            product = (x.reshape(n * m, -1) @ own).reshape(n, m, -1)
            if i == len(self._layers) - 1:
                break
            product += of_pillar
            x = np.maximum(product, 0, out=product)
            shared = x.max(0)
        # Constant over a pillar or increasing: once per pillar, after the maximum.
        return np.maximum(product.max(0) + of_pillar, 0)


def in_range(points: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Finite points (P, >= 3) inside the range, and their cell ids ``y * nx + x``."""
    ny, nx = grid.shape
    with np.errstate(invalid="ignore", over="ignore"):
        x, y = (
            np.floor(
                (points[:, axis] - np.float32(grid.range_m[axis])) / np.float32(grid.cell_m[axis])
            )
            for axis in range(2)
        )
    z = points[:, 2]
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    inside &= (z >= grid.range_m[2]) & (z <= grid.range_m[5])
    for column in range(3, points.shape[1]):  # the comparisons are false for NaN
        inside &= np.isfinite(points[:, column])
    rows = np.flatnonzero(inside)
    return points[rows], y[rows].astype(np.int64) * nx + x[rows].astype(np.int64)


def occupied_cells(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Ascending ids of the cells that hold a point."""
    return np.unique(in_range(points, grid)[1])


def _group(cells: np.ndarray) -> tuple[Groups, np.ndarray]:
    """Points by pillar, and the ascending cell ids of the pillars."""
    order = _argsort(cells)
    sorted_cells = cells[order]
    first = np.flatnonzero(np.diff(sorted_cells, prepend=-1))
    return Groups(order, first, np.diff(first, append=len(cells))), sorted_cells[first]


def _argsort(ids: np.ndarray) -> np.ndarray:
    """Stable order of ids below 2^32; numpy sorts 16 bits in linear time and nothing wider."""
    order = np.argsort(ids.astype(np.uint16), kind="stable")
    high = (ids >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")] if high.any() else order


def _blocks(groups: Groups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pillars of similar numbers of points: their rows (m,), and the places (n, m) of their points.

    A pillar with fewer than n points repeats its last one, which changes no maximum.
    """
    fullest_first = np.argsort(-groups.counts, kind="stable")
    start = 0
    while start < len(fullest_first):
        most = int(groups.counts[fullest_first[start]])
        pillars = fullest_first[start : start + max(1, BLOCK_POINTS // most)]
        last = groups.counts[pillars] - 1
        yield pillars, groups.first[pillars] + np.minimum(np.arange(most)[:, None], last)
        start += len(pillars)
