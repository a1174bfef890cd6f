"""The pillar encoder in numpy: points to pillars with the weights of the trained one.

It stays out of the graph because its maximum over a pillar's points is a scatter with a reduction,
which TensorRT does not build and NPUs do not have; onnxruntime has it, single-threaded. Pillars
with similar numbers of points go through all layers together, two thousand points at a time, so
that what lies between points and features stays in the cache; several threads share the blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from padre3d.runtime.grid import Grid
from padre3d.runtime.tables import EncoderTables
from padre3d.structures.points import point_limits

BLOCK_POINTS = 2048
# Below, starting threads costs what they save.
LEAST_POINTS = 4 * BLOCK_POINTS
MOST_THREADS = 8


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
        threads: that share the work; None for as many as the process may use, 8 at most.
    """

    def __init__(self, grid: Grid, tables: EncoderTables, threads: int | None = None) -> None:
        self.grid, self.columns, self.channels = grid, tables.columns, tables.channels
        self.threads = encoder_threads(threads)
        self.with_distance = tables.with_distance
        self._layers = [(layer.point, layer.pillar, layer.shift) for layer in tables.layers]
        # A point is its pillar's centre and an offset, and the offset to the mean is that to the
        # centre less a constant of the pillar: offsets are all that differs within a pillar.
        own, none, shift = self._layers[0]
        ends = [3, self.columns, self.columns + 3, self.columns + 6]
        of_centre, others, of_mean, of_offset, of_distance = np.split(own, ends)
        self._of_pillar = np.concatenate([of_centre, -of_mean])
        both = of_centre + of_mean + of_offset
        self._layers[0] = np.concatenate([both, others, of_distance]), none, shift

    def __call__(self, points: np.ndarray) -> EncodedPillars:
        """Encode points (P, columns) float32."""
        located = _locate(points, self.grid)
        pillars = _group(located.cells, self.grid.num_cells)
        features = np.empty((len(pillars.cells), self.channels), np.float32)
        order = located.rows[pillars.points]
        centres = self._centres(pillars.cells[pillars.rows])
        # One list of blocks for all threads: who is free takes the next.
        blocks = iter(list(_blocks(pillars)))

        def encode(_: int) -> None:
            buffers = self._buffers(pillars)
            for block in blocks:
                own = np.take(points, order[block.points], axis=0, mode="clip")
                counts, here = pillars.counts[block.pillars], centres[:, block.pillars]
                x, of_pillar = self._describe(_spread(own, counts), here, counts)
                features[pillars.rows[block.pillars]] = self._encode(x, of_pillar, buffers)

        if self.threads == 1 or len(order) < LEAST_POINTS:
            encode(0)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(encode, range(self.threads)))
        return EncodedPillars(features, pillars.cells, located.unusable)

    def close(self) -> None:
        """Nothing to free: the threads end with each call."""

    def _centres(self, cells: np.ndarray) -> np.ndarray:
        """Centres (3, N) of cells."""
        z = np.full((1, len(cells)), (self.grid.range_m[2] + self.grid.range_m[5]) / 2, np.float32)
        return np.concatenate([self.grid.centres_m(cells).T, z])

    def _describe(
        self, x: np.ndarray, centres: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What differs within m pillars of n points (columns, n, m), which is changed: x, y and z
        as offsets from the centres (3, m), the rest as it is, and the distance if it is read; and
        what the first layer makes of the rest (m, C)."""
        if self.with_distance:
            x = np.concatenate([x, np.sqrt(np.square(x[:3]).sum(0, keepdims=True))])
        offsets = x[:3]
        offsets -= centres[:, None]
        total = offsets.sum(1, dtype=np.float64)
        if counts[-1] < counts[0]:
            total -= (counts[0] - counts) * offsets[:, -1]
        shared = np.concatenate([centres, (total / counts).astype(np.float32)])
        return x, shared.T @ self._of_pillar + self._layers[0][2]

    def _buffers(self, pillars: Pillars) -> list[np.ndarray]:
        """Room for what a layer makes of a block's points, for each layer."""
        most = max([BLOCK_POINTS, *pillars.counts[:1]])
        return [np.empty((most, own.shape[1]), np.float32) for own, _, _ in self._layers]

    def _encode(
        self, x: np.ndarray, of_pillar: np.ndarray, buffers: list[np.ndarray]
    ) -> np.ndarray:
        """Layers in turn, on the points (columns, n, m) of m pillars -> (m, C)."""
        shape, shared = x.shape[1:], of_pillar
        x = x.reshape(len(x), -1).T
        for i, ((own, common, shift), out) in enumerate(zip(self._layers, buffers, strict=True)):
            if i > 0:
                of_pillar = shared @ common + shift
            x = np.matmul(x, own, out=out[: len(x)])
            product = x.reshape(*shape, -1)
            if i < len(self._layers) - 1:
                product += of_pillar
                np.maximum(product, np.zeros_like(of_pillar), out=product)
                shared = product.max(0)
        # Constant over a pillar or increasing: once per pillar, after the maximum.
        return np.maximum(product.max(0) + of_pillar, 0)


class LocatedPoints(NamedTuple):
    """Usable points (P', columns) in the range, their cells (P',), and how many were unusable."""

    points: np.ndarray
    cells: np.ndarray
    unusable: int


def in_range(points: np.ndarray, grid: Grid) -> LocatedPoints:
    """Usable points of (P, >= 3) inside the range, with their cell ids ``y * nx + x``."""
    rows, cells, unusable = _locate(points, grid)
    return LocatedPoints(points[rows], cells, unusable)


def occupied_cells(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Ascending ids of the cells that hold a point."""
    return np.unique(_locate(points, grid).cells)


class Located(NamedTuple):
    """Rows (P',) of the usable points in the range, their cells, and how many were unusable."""

    rows: np.ndarray
    cells: np.ndarray
    unusable: int


class Pillars(NamedTuple):
    """Occupied pillars, those with the most points first, and the points by pillar.

    Attributes:
        cells: (N,) ascending cell ids.
        rows: (N,) place of each pillar in ``cells``.
        counts: (N,) points of each pillar, falling.
        points: (P,) the points, those of a pillar together, pillars in their order.
        first: (N,) where in ``points`` those of a pillar begin.
    """

    cells: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    points: np.ndarray
    first: np.ndarray


class Block(NamedTuple):
    """Pillars that are encoded together, and their points in :attr:`Pillars.points`."""

    pillars: slice
    points: slice


def _locate(points: np.ndarray, grid: Grid) -> Located:
    ny, nx = grid.shape
    columns = np.ascontiguousarray(points.T)
    usable = np.ones(len(points), bool)
    for column, limit in zip(columns, point_limits(len(columns)), strict=True):
        usable &= np.abs(column) <= np.float32(limit)  # false for NaN
    with np.errstate(invalid="ignore", over="ignore"):
        x, y = (
            np.floor((columns[axis] - np.float32(grid.range_m[axis])) / np.float32(cell))
            for axis, cell in enumerate(grid.cell_m)
        )
    z = columns[2]
    inside = usable & (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    inside &= (z >= grid.range_m[2]) & (z <= grid.range_m[5])
    rows = np.flatnonzero(inside)
    cells = y[rows].astype(np.int64) * nx + x[rows].astype(np.int64)
    return Located(rows, cells, len(points) - int(np.count_nonzero(usable)))


def _group(cells: np.ndarray, num_cells: int) -> Pillars:
    """The pillars that the points with these cell ids are in."""
    in_cell = np.bincount(cells, minlength=num_cells)
    occupied = np.flatnonzero(in_cell)
    counts = in_cell[occupied]
    fullest_first = _argsort(counts)[::-1]
    place = np.empty(num_cells, np.int64)
    place[occupied[fullest_first]] = np.arange(len(occupied))
    counts = counts[fullest_first]
    order = _argsort(place[cells])
    return Pillars(occupied, fullest_first, counts, order, np.cumsum(counts) - counts)


def _argsort(ids: np.ndarray) -> np.ndarray:
    """Stable order of ids below 2^32; numpy sorts 16 bits in linear time and nothing wider."""
    order = np.argsort(ids.astype(np.uint16), kind="stable")
    high = (ids >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")] if high.any() else order


def _blocks(pillars: Pillars) -> Iterator[Block]:
    """Pillars whose points, as many for each as the first has, are about :data:`BLOCK_POINTS`."""
    ends = pillars.first + pillars.counts
    start = 0
    while start < len(ends):
        stop = min(start + max(1, BLOCK_POINTS // int(pillars.counts[start])), len(ends))
        yield Block(slice(start, stop), slice(int(pillars.first[start]), int(ends[stop - 1])))
        start = stop


def _spread(points: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Points (P, columns) of m pillars as (columns, n, m), n those of the first pillar, which has
    the most. One with fewer repeats its last, which changes no maximum."""
    n, m = int(counts[0]), len(counts)
    if counts[-1] == n:
        return np.ascontiguousarray(points.reshape(m, n, -1).transpose(2, 1, 0))
    first = np.cumsum(counts) - counts
    slots = first + np.minimum(np.arange(n)[:, None], counts - 1)
    return np.take(points.T, slots, axis=1, mode="clip")


def encoder_threads(threads: int | None) -> int:
    """As many as asked for, None for the processors that this process may use; 8 at most."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return min(threads or processors, MOST_THREADS)
