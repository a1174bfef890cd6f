"""The numpy encoder against its definition in float64, point by point, on full clouds."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from padre3d import models
from padre3d.io import load_points
from padre3d.runtime.grid import Grid
from padre3d.runtime.manifest import TABLES, parse_manifest
from padre3d.runtime.pillar_encoder import LEAST_POINTS, PillarEncoder, in_range
from padre3d.runtime.tables import EncoderLayer, EncoderTables, load_tables

SWEEP = "n015-2018-07-24-11-22-45+0800__LIDAR_TOP__1532402927647951.pcd.bin"
TEN_SWEEPS = "ff9eff4389a740848f9a56ad749a4ae8_10sweeps_float16.bin"


def definition(points, grid, tables):
    """Features (N, C) float64 and cells (N,): every point through every layer."""
    located = in_range(points, grid)
    cells, rows = np.unique(located.cells, return_inverse=True)
    points = located.points.astype(float)
    counts = np.bincount(rows)[:, None]
    mean = np.stack([np.bincount(rows, weights=column) for column in points[:, :3].T], 1) / counts
    low, high = np.split(np.array(grid.range_m), 2)
    ny, nx = grid.shape
    centres = (np.stack([cells % nx, cells // nx], 1) + 0.5) * grid.cell_m + low[:2]
    centres = np.c_[centres, np.full(len(cells), (low[2] + high[2]) / 2)]
    x = np.c_[points, points[:, :3] - mean[rows], points[:, :3] - centres[rows]]
    if tables.with_distance:
        x = np.c_[x, np.linalg.norm(points[:, :3], axis=1)]
    shared = np.zeros((len(cells), 0))
    for layer in tables.layers:
        x = np.maximum(x @ layer.point + (shared @ layer.pillar)[rows] + layer.shift, 0)
        shared = np.full((len(cells), x.shape[1]), -np.inf)
        np.maximum.at(shared, rows, x)
    return shared, cells


def check(points, grid, tables):
    """As the definition: to 2e-6 of the largest feature, which is single precision's error."""
    features, cells = definition(points, grid, tables)
    encoded = PillarEncoder(grid, tables, threads=1)(points)
    np.testing.assert_array_equal(encoded.cells, cells)
    np.testing.assert_allclose(encoded.features, features, atol=2e-6 * features.max())
    shared = PillarEncoder(grid, tables, threads=3)(points)
    np.testing.assert_array_equal(shared.features, encoded.features)


def random_tables(columns, widths, seed=0, extra=0):
    random = np.random.default_rng(seed)
    layers, taken, common = [], columns + 6 + extra, 0
    for width in widths:
        weights = [random.normal(0, 0.3, (n, width)).astype(np.float32) for n in (taken, common)]
        layers.append(EncoderLayer(*weights, random.normal(size=width).astype(np.float32)))
        taken = common = width
    return EncoderTables(columns, tuple(layers))


def packaged():
    folder = models.model_folder("padre2_grid_synthetic")
    manifest = parse_manifest(folder)
    return manifest.grid, load_tables(folder / TABLES, manifest)[0]


def test_the_packaged_cloud():
    check(load_points(models.sample_cloud()[0], time_lag=True), *packaged())


@pytest.mark.parametrize("name", [SWEEP, TEN_SWEEPS])
def test_real_clouds(real_dir, name):
    points = load_points(real_dir / name)
    check(points, *packaged())
    check(points, Grid((-54, -54, -5, 54, 54, 3), (0.3, 0.3)), random_tables(5, (16, 32)))


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("columns", [3, 4, 5, 6])
def test_other_columns_and_distances(columns, extra):
    """Pillars with one point, with thousands, and everything between."""
    random = np.random.default_rng(columns)
    points = random.uniform(-3, 3, (3 * LEAST_POINTS, columns)).astype(np.float32)
    points[::3, :2] = 0.1
    points[1::7, :2] **= 3
    grid = Grid((-3.2, -3.2, -3, 3.2, 3.2, 3), (0.2, 0.2))
    check(points, grid, random_tables(columns, (8, 12), columns, extra))


@pytest.mark.parametrize("widths", [(8,), (8, 8, 8)])
def test_other_numbers_of_layers(widths):
    points = np.random.default_rng(0).uniform(-3, 3, (2 * LEAST_POINTS, 5)).astype(np.float32)
    check(points, Grid((-3.2, -3.2, -3, 3.2, 3.2, 3), (0.4, 0.4)), random_tables(5, widths))
