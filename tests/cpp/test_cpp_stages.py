"""Pillar encoder and index inputs of the C++ runtime: those of padre3d.runtime."""

import numpy as np
import pytest
from broken_folders import arrays, make_folder, valid, write

from padre3d.io import load_points
from padre3d.models import model_folder, model_names, sample_cloud
from padre3d.runtime.manifest import TABLES, parse_manifest
from padre3d.runtime.pillar_encoder import PillarEncoder
from padre3d.runtime.tables import load_tables
from padre3d.runtime.token_layouts import index_inputs

CLOSE = 2e-5  # of the largest feature: sums in another order


def stages(cpp, folder, points, out, least=1, sets=0, most=0, threads=2):
    """(pillars, unusable points, inputs by name) of the C++ runtime."""
    out.mkdir()
    np.save(out / "cloud.npy", np.asarray(points, np.float32))
    said = cpp.tool("stages", folder, out / "cloud.npy", out, least, sets, most, threads)
    pillars, unusable = map(int, said.split())
    found = {p.stem: np.load(p) for p in out.glob("*.npy") if p.stem != "cloud"}
    return pillars, unusable, found


def expected_inputs(folder, points, least=1, sets=None, most=None):
    """The same by padre3d.runtime, in the order of padre3d.runtime.runtime.Runtime."""
    manifest = parse_manifest(folder)
    encoder, tables = load_tables(folder / TABLES, manifest)
    features, cells, unusable = PillarEncoder(manifest.grid, encoder, 1)(np.float32(points))
    count = len(cells)
    if most is not None:
        distance = np.square(manifest.grid.centres_m(cells)).sum(1)
        kept = np.sort(np.argsort(distance, kind="stable")[:most])
        features, cells = features[kept], cells[kept]
    size = max(least, len(cells))
    shape, set_size = manifest.grid.shape, manifest.set_size
    inputs = index_inputs(cells, tables, set_size, shape, size, sets)
    inputs["features"] = np.pad(features, ((0, size - len(cells)), (0, 0)))
    inputs.update({old: inputs[name] for name, old in manifest.old_names.items()})
    return count, unusable, inputs


def assert_same(found, expected):
    assert found[:2] == expected[:2]
    inputs, wanted = dict(found[2]), dict(expected[2])
    features, expected_features = inputs.pop("features"), wanted.pop("features")
    assert features.dtype == expected_features.dtype
    assert features.shape == expected_features.shape
    largest = max(np.abs(expected_features).max(initial=0), 1e-6)
    assert np.abs(features - expected_features).max(initial=0) <= CLOSE * largest
    assert inputs.keys() == wanted.keys()
    for name, value in wanted.items():
        assert inputs[name].dtype == value.dtype, name
        np.testing.assert_array_equal(inputs[name], value, err_msg=name)


@pytest.fixture(scope="module")
def sample():
    return load_points(sample_cloud()[0])


@pytest.mark.parametrize("name", model_names())
def test_packaged_models(cpp, sample, tmp_path, name):
    """Sequences, sets and the grid; padded, and with the farthest pillars dropped."""
    folder = model_folder(name)
    assert_same(stages(cpp, folder, sample, tmp_path / "a"), expected_inputs(folder, sample))
    dirty = sample.copy()
    dirty[::7, 3] = np.nan
    dirty[1::7, 0] = np.inf
    dirty[2::7, 4] = 1e5
    padded = dict(least=20_000, sets=9_000, threads=1)
    expected = expected_inputs(folder, dirty, 20_000, 9_000)
    assert_same(stages(cpp, folder, dirty, tmp_path / "b", **padded), expected)
    fewer = expected_inputs(folder, sample, most=500)
    assert_same(stages(cpp, folder, sample, tmp_path / "c", most=500), fewer)


def test_layouts_are_all_packaged():
    layouts = {parse_manifest(model_folder(name)).layout for name in model_names()}
    assert layouts == {"sequence", "set", "grid"}


def layers(widths, columns, distance, rng):
    """Encoder layers of these widths by name."""
    made, point, pillar = {}, columns + 6 + distance, 0
    for i, width in enumerate(widths):
        weight = rng.normal(size=(point + pillar, width)).astype(np.float32)
        made[f"weight{i}"] = weight / np.float32(np.sqrt(point))
        made[f"shift{i}"] = rng.normal(size=width).astype(np.float32)
        made[f"point_channels{i}"] = np.array(point)
        point = pillar = width
    return made


@pytest.mark.parametrize(
    ("widths", "columns", "distance"),
    [((16,), 5, 0), ((7, 40), 5, 1), ((64, 24, 130), 3, 0), ((20, 128), 9, 1)],
)
def test_encoders(cpp, tmp_path, widths, columns, distance):
    """One to three layers, widths that are no multiple of a vector, other columns, the distance."""
    rng = np.random.default_rng(0)
    folder = make_folder(tmp_path / "exported")
    tables = {k: v for k, v in arrays().items() if k[-1] != "0"}
    np.savez_compressed(folder / TABLES, **tables, **layers(widths, columns, distance, rng))
    write(folder, {**valid(folder), "point_columns": columns})
    points = rng.uniform(-1, 1, (3000, columns)) * ([3.1, 2.1, 4, *[1] * 9][:columns])
    points[:1200, :2] *= 0.1  # a pillar of many points
    found = stages(cpp, folder, points, tmp_path / "out")
    assert_same(found, expected_inputs(folder, points))
    assert found[0] > 90
    assert_same(
        stages(cpp, folder, points[:0], tmp_path / "none", least=4),
        expected_inputs(folder, points[:0], 4),
    )


def test_old_names(cpp, tmp_path):
    """Folders of format 2 call two inputs, and a table, otherwise."""
    folder = make_folder(tmp_path / "exported")
    tables = arrays()
    tables["places"] = tables.pop("window_index")
    np.savez(folder / TABLES, **tables)
    manifest = {**valid(folder), "format": 2}
    manifest["tokens"] = manifest.pop("layout")
    write(folder, manifest)
    points = np.random.default_rng(0).uniform(-2, 2, (200, 5))
    found = stages(cpp, folder, points, tmp_path / "out")
    assert_same(found, expected_inputs(folder, points))
    assert {"places", "inverse"} <= found[2].keys()


def test_too_many_sets(cpp, tmp_path, sample):
    np.save(tmp_path / "cloud.npy", sample)
    words = ("stages", model_folder("attention_synthetic"), tmp_path / "cloud.npy", tmp_path)
    done = cpp.run("padre3d_test_tool", *words, 1, 3, 0, 1)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "sets: expected at most 3, got" in done.stderr


def test_kernels(cpp):
    """Every instruction set of this processor computes the same."""
    errors = {
        name: float(error) for name, error in map(str.split, cpp.tool("kernels").splitlines())
    }
    assert "plain" in errors
    assert max(errors.values()) < 1e-4
