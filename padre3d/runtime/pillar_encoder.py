"""The pillar encoder in numpy: points to pillars with the weights of the trained one.

It stays out of the graph because its maximum over a pillar's points is a scatter with a reduction,
which TensorRT does not build and NPUs do not have; onnxruntime has it, single-threaded. Pillars
with similar numbers of points go through all layers together, two thousand points at a time, so
that what lies between points and features stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from padre3d.runtime.grid import Grid
from padre3d.runtime.tables import EncoderTables
from padre3d.structures.points import point_limits

BLOCK_POINTS = 2048


class Groups(NamedTuple):
    """Points by pillar: those of pillar i are ``order[first[i] : first[i] + counts[i]]``."""

    order: np.ndarray
    first: np.ndarray
    counts: np.ndarray


class EncodedPillars(NamedTuple):
    """Occupied pillars of a cloud.

    Attributes:
        features: (N, C) float32.
        cells: (N,) ascending cell ids.
        unusable: points that do not count for NaN, infinity or an absurd number.
    """

    features: np.ndarray
    cells: np.ndarray
    unusable: int


class PillarEncoder:
    """Points to one feature vector per occupied pillar.

    Args:
        grid: the pillar grid.
        tables: the weights.
    """

    def __init__(self, grid: Grid, tables: EncoderTables) -> None:
        self.grid, self.columns, self.channels = grid, tables.columns, tables.channels
        self._layers = [(layer.point, layer.pillar, layer.shift) for layer in tables.layers]
        # The offset to the pillar's mean is that to its centre less a constant of the pillar.
        own, none, shift = self._layers[0]
        self.with_distance = tables.with_distance
        ends = [self.columns, self.columns + 3, self.columns + 6]
        point, self._of_mean, of_centre, of_distance = np.split(own, ends)
        both = self._of_mean + of_centre
        self._layers[0] = np.concatenate([point, both, of_distance]), none, shift

    def __call__(self, points: np.ndarray) -> EncodedPillars:
        """Encode points (P, columns) float32."""
        located = in_range(points, self.grid)
        if len(located.cells) == 0:
            none = np.zeros((0, self.channels), np.float32)
            return EncodedPillars(none, located.cells, located.unusable)
        groups, occupied = _group(located.cells)
        inputs, of_pillar = self._describe(located.points[groups.order], groups.counts, occupied)
        features = np.empty((len(occupied), self.channels), np.float32)
        for pillars, rows in _blocks(groups):
            features[pillars] = self._encode(inputs[rows], of_pillar[pillars])
        return EncodedPillars(features, occupied, located.unusable)

    def _describe(
        self, points: np.ndarray, counts: np.ndarray, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points, their offsets to the pillar's centre and, if it is read, their distance
        (P, columns + 3 or 4), and what the first layer makes of the pillar's mean (N, C)."""
        centres = np.empty((len(cells), 3), np.float32)
        centres[:, :2] = self.grid.centres_m(cells)
        centres[:, 2] = (self.grid.range_m[2] + self.grid.range_m[5]) / 2
        rows = np.repeat(np.arange(len(cells)), counts)
        inputs = np.empty((len(points), self.columns + 3 + self.with_distance), np.float32)
        inputs[:, : self.columns] = points
        mean = np.empty((len(cells), 3), np.float32)
        for axis in range(3):
            offset = points[:, axis] - centres[rows, axis]
            inputs[:, self.columns + axis] = offset
            mean[:, axis] = np.bincount(rows, weights=offset) / counts
        if self.with_distance:
            inputs[:, -1] = np.sqrt(np.square(points[:, :3]).sum(1))
        return inputs, -(mean @ self._of_mean)

    def _encode(self, inputs: np.ndarray, of_pillar: np.ndarray) -> np.ndarray:
        """Layers in turn, on the points (n, m, columns + 3 or 4) of m pillars -> (m, C)."""
        n, m, _ = inputs.shape
        x, shared = inputs, np.zeros((m, 0), np.float32)
        for i, (own, common, shift) in enumerate(self._layers):
            of_pillar = shared @ common + (shift if i else of_pillar + shift)
            product = (x.reshape(n * m, -1) @ own).reshape(n, m, -1)
            if i == len(self._layers) - 1:
                break
            product += of_pillar
            x = np.maximum(product, 0, out=product)
            shared = x.max(0)
        # Constant over a pillar or increasing: once per pillar, after the maximum.
        return np.maximum(product.max(0) + of_pillar, 0)


class LocatedPoints(NamedTuple):
    """Usable points (P', columns) in the range, their cells (P',), and how many were unusable."""

    points: np.ndarray
    cells: np.ndarray
    unusable: int


def in_range(points: np.ndarray, grid: Grid) -> LocatedPoints:
    """Usable points of (P, >= 3) inside the range, with their cell ids ``y * nx + x``."""
    ny, nx = grid.shape
    usable = np.ones(len(points), bool)
    for column, limit in enumerate(point_limits(points.shape[1])):
        usable &= np.abs(points[:, column]) <= np.float32(limit)  # false for NaN
    with np.errstate(invalid="ignore", over="ignore"):
        x, y = (
            np.floor(
                (points[:, axis] - np.float32(grid.range_m[axis])) / np.float32(grid.cell_m[axis])
            )
            for axis in range(2)
        )
    z = points[:, 2]
    inside = usable & (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    inside &= (z >= grid.range_m[2]) & (z <= grid.range_m[5])
    rows = np.flatnonzero(inside)
    cells = y[rows].astype(np.int64) * nx + x[rows].astype(np.int64)
    return LocatedPoints(points[rows], cells, len(points) - int(np.count_nonzero(usable)))


def occupied_cells(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Ascending ids of the cells that hold a point."""
    return np.unique(in_range(points, grid).cells)


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
    """Pillars of similar numbers of points: their rows (m,) and those of their points (n, m).

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
