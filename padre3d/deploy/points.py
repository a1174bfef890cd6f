"""The pillar encoder in numpy: points to pillars with the weights of the trained one.

It stays out of the graph because its maximum over a pillar's points is a scatter with a reduction,
which TensorRT does not build and NPUs do not have; onnxruntime has it, single-threaded. In numpy
the maximum is a few contiguous passes: all first points of the pillars, all second points, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Grid(NamedTuple):
    """Range and cell size of a pillar grid, as :class:`padre3d.geometry.PillarGrid`."""

    range_m: tuple[float, ...]
    cell_m: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along y and x."""
        low, high = self.range_m[:2], self.range_m[3:5]
        nx, ny = (
            round((b - a) / cell) for a, b, cell in zip(low, high, self.cell_m, strict=True)
        )
        return ny, nx

    def centres_m(self, cells: np.ndarray) -> np.ndarray:
        """Centres (N, 2) ``[x, y]`` of cell ids ``y * nx + x``, float32."""
        xy = np.stack([cells % self.shape[1], cells // self.shape[1]], 1).astype(np.float32)
        return (xy + np.float32(0.5)) * np.float32(self.cell_m) + np.float32(self.range_m[:2])


class Levels(NamedTuple):
    """Points sorted by their number within the pillar, pillars by their number of points.

    The points of level j are rows ``starts[j]`` to ``starts[j] + sizes[j]``: one of each of the
    first ``sizes[j]`` pillars.
    """

    starts: np.ndarray
    sizes: np.ndarray

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Maximum over each pillar's points, in the order of the pillars of level 0."""
        out = values[: self.sizes[0]].copy()
        for start, size in zip(self.starts[1:].tolist(), self.sizes[1:].tolist(), strict=True):
            np.maximum(out[:size], values[start : start + size], out=out[:size])
        return out


class PillarEncoder:
    """Points to one feature vector per occupied pillar.

    Args:
        grid: the pillar grid.
        tables: arrays of :func:`padre3d.deploy.tables.runtime_tables`.
        columns: of a point.
    """

    def __init__(self, grid: Grid, tables: Mapping[str, Any], columns: int) -> None:
        self.grid, self.columns = grid, columns
        count = sum(name.startswith("weight") for name in tables)
        self.layers = [
            (
                np.split(tables[f"weight{i}"], [int(tables[f"point_channels{i}"])]),
                tables[f"shift{i}"],
            )
            for i in range(count)
        ]

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (P, columns) float32 -> features (N, C) and their ascending cell ids (N,)."""
        points, cells = in_range(points, self.grid)
        if len(cells) == 0:
            return np.zeros((0, len(self.layers[-1][1])), np.float32), cells
        order, row_of_point, occupied, levels, by_count = _arrange(cells)
        points = points[order]
        inputs = self._describe(points, row_of_point, occupied)
        features = self._encode(inputs, row_of_point, by_count, levels)
        return features, occupied

    def _describe(self, points: np.ndarray, rows: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """The point, its offset to its pillar's mean, and to its pillar's centre: (P, C + 6)."""
        out = np.empty((len(points), self.columns + 6), np.float32)
        out[:, : self.columns] = points
        counts = np.bincount(rows, minlength=len(cells))
        centres = np.empty((len(cells), 3), np.float32)
        centres[:, :2] = self.grid.centres_m(cells)
        centres[:, 2] = (self.grid.range_m[2] + self.grid.range_m[5]) / 2
        for axis in range(3):
            column = points[:, axis]
            mean = np.bincount(rows, weights=column, minlength=len(cells)) / counts
            out[:, self.columns + axis] = column - mean.astype(np.float32)[rows]
        out[:, self.columns + 3 :] = points[:, :3] - centres[rows]
        return out

    def _encode(
        self, inputs: np.ndarray, rows: np.ndarray, by_count: np.ndarray, levels: Levels
    ) -> np.ndarray:
        """Layers in turn; ``by_count`` (N,) is each pillar's place in the levels' order."""
        x, shared = inputs, None
        for i, ((own, common), shift) in enumerate(self.layers):
            last = i == len(self.layers) - 1
            product = x @ own
            of_pillar = shift if shared is None else shared @ common + shift
            if last:  # constant over a pillar or increasing: once per pillar, after the maximum
                return np.maximum(levels.largest(product) + of_pillar, 0)[by_count]
            product += of_pillar if shared is None else of_pillar[by_count[rows]]
            x = np.maximum(product, 0, out=product)
            shared = levels.largest(x)
        raise ValueError("pillar encoder: expected at least one layer in the tables, got none")


def in_range(points: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Finite points (P, >= 3) inside the range, and their cell ids ``y * nx + x``."""
    ny, nx = grid.shape
    with np.errstate(invalid="ignore"):
        xy = (points[:, :2] - np.float32(grid.range_m[:2])) / np.float32(grid.cell_m)
        x, y = np.floor(xy[:, 0]), np.floor(xy[:, 1])
        z = points[:, 2]
        inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        inside &= (z >= grid.range_m[2]) & (z <= grid.range_m[5])
    inside &= np.isfinite(points).all(1)
    return points[inside], y[inside].astype(np.int64) * nx + x[inside].astype(np.int64)


def occupied_cells(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Ascending ids of the cells that hold a point."""
    return np.unique(in_range(points, grid)[1])


def _arrange(
    cells: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Levels, np.ndarray]:
    """Order of the points by levels; the pillar row of each point in that order, the occupied
    cells, the levels, and each pillar's place in the levels' order."""
    by_cell = np.argsort(cells, kind="stable")
    sorted_cells = cells[by_cell]
    first = np.flatnonzero(np.diff(sorted_cells, prepend=-1))
    counts = np.diff(first, append=len(cells))
    occupied = sorted_cells[first]
    row = np.repeat(np.arange(len(first)), counts)
    level = np.arange(len(cells)) - first[row]
    fullest_first = np.argsort(-counts, kind="stable")
    by_count = np.empty_like(fullest_first)
    by_count[fullest_first] = np.arange(len(first))
    sizes = np.bincount(level)
    starts = np.cumsum(sizes) - sizes
    target = starts[level] + by_count[row]
    order = np.empty_like(by_cell)
    order[target] = by_cell
    rows = np.empty_like(row)
    rows[target] = row
    return order, rows, occupied, Levels(starts, sizes), by_count
