"""The compiled pillar encoder in Python: numpy's values, what it refuses, what it leaves behind."""

import contextlib
import ctypes
import gc
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from broken_folders import arrays, make_folder

from padre3d.backends.base import BackendError
from padre3d.runtime import compiled_encoder
from padre3d.runtime.compiled_encoder import CompiledPillarEncoder, load_library
from padre3d.runtime.grid import Grid
from padre3d.runtime.manifest import parse_manifest
from padre3d.runtime.pillar_encoder import PillarEncoder
from padre3d.runtime.tables import EncoderLayer, EncoderTables

CLOSE = 1e-6  # of the largest feature: sums in another order
GRID = Grid((-6.4, -4.8, -3, 6.4, 4.8, 3), (0.2, 0.2))
TASKS = Path("/proc/self/task")
ROOMY = 1 << 16


def random_tables(columns=5, widths=(24, 32), distance=0):
    rng = np.random.default_rng(columns)
    layers, taken, common = [], columns + 6 + distance, 0
    for width in widths:
        own, shared = (rng.normal(0, 0.3, (n, width)).astype(np.float32) for n in (taken, common))
        layers.append(EncoderLayer(own, shared, rng.normal(size=width).astype(np.float32)))
        taken = common = width
    return EncoderTables(columns, tuple(layers))


def random_points(count, columns=5, seed=0):
    """Most of them in the range, a third in one pillar."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-7, 7, (count, columns)).astype(np.float32)
    points[:, 2] /= 2.2
    points[::3, :2] = 0.1
    return points


@pytest.fixture
def encoder(library):
    return CompiledPillarEncoder(library, GRID, random_tables(), threads=2)


def assert_same(found, expected):
    assert found.unusable == expected.unusable
    np.testing.assert_array_equal(found.cells, expected.cells)
    for name in ("features", "cells"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    largest = np.abs(expected.features).max(initial=1e-9)
    assert np.abs(found.features - expected.features).max(initial=0) <= CLOSE * largest


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("columns", "widths", "distance"),
    [(5, (24, 32), 0), (4, (7,), 1), (3, (16, 20, 10), 0), (6, (64, 128), 1)],
)
def test_values_of_numpy(library, columns, widths, distance, threads):
    """Clouds of all sizes one after another: what one leaves in the buffers must not show."""
    made = GRID, random_tables(columns, widths, distance), threads
    compiled, plain = CompiledPillarEncoder(library, *made), PillarEncoder(*made)
    for name in ("grid", "columns", "channels", "threads", "with_distance"):
        assert getattr(compiled, name) == getattr(plain, name), name
    for count in (40_000, 0, 700, 1, 2):
        points = random_points(count, columns, seed=count)
        expected = plain(points)
        assert_same(compiled(points), expected)
        assert (len(expected.cells) > 0) == (count > 0)
    assert len(plain(random_points(40_000, columns)).cells) > 2500


def test_points_that_do_not_count(encoder):
    """NaN, infinity, absurd numbers, and points outside; among others, and alone."""
    plain = PillarEncoder(GRID, random_tables())
    points = random_points(3000)
    numbers = (np.nan, np.inf, -np.inf, 1.1e5, 3e38)
    for i, (column, number) in enumerate(itertools.product(range(3), numbers)):
        points[i::40, column] = number
    points[30::40, 3], points[31::40, 4], points[32::40, 2] = 2e6, -2e4, 50
    expected = plain(points)
    assert expected.unusable == 17 * 75
    assert_same(encoder(points), expected)
    for row in (points[1::40], points[32::40]):
        assert_same(encoder(row), plain(row))
        assert len(encoder(row).cells) == 0


def test_results_and_points_are_the_callers(encoder):
    """A later frame changes no earlier result; points in any layout."""
    points = random_points(5000)
    first = encoder(points)
    kept = first.features.copy()
    encoder(random_points(5000, seed=1))
    np.testing.assert_array_equal(first.features, kept)
    points.flags.writeable = False
    for same in (np.asfortranarray(points), points.astype(np.float64), points):
        np.testing.assert_array_equal(encoder(same).features, kept)


@pytest.mark.parametrize("shape", [(10, 4), (10, 6), (10,), (2, 5, 5), (0,)])
def test_wrong_columns(encoder, shape):
    with pytest.raises(ValueError, match=r"points: expected shape \(P, 5\), got \("):
        encoder(np.zeros(shape, np.float32))


def test_callers_take_turns(encoder):
    clouds = [random_points(1000 * (i % 4), seed=i) for i in range(24)]
    expected = [encoder(cloud) for cloud in clouds]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(encoder, clouds), expected, strict=True):
            np.testing.assert_array_equal(found.cells, wanted.cells)
            np.testing.assert_array_equal(found.features, wanted.features)


def test_freed_after_use(library):
    """Its threads end, and two hundred encoders need no more memory than a few."""
    if not TASKS.is_dir():
        pytest.skip("no /proc here")
    points = random_points(20_000)

    def use(times):
        for _ in range(times):
            CompiledPillarEncoder(library, GRID, random_tables(), threads=4)(points)
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    before = len(list(TASKS.iterdir()))
    encoder = CompiledPillarEncoder(library, GRID, random_tables(), threads=4)
    assert len(list(TASKS.iterdir())) == before + 3
    del encoder
    gc.collect()
    assert len(list(TASKS.iterdir())) == before
    start = use(10)
    assert use(200) - start < 20e6  # one that is kept holds 0.5 MB


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_process(encoder):
    """Threads do not survive a fork: the child would wait for them."""
    points = random_points(5000)
    expected = encoder(points)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(float(encoder(points).features.sum())))
    child.start()
    child.join(60)
    status = child.exitcode
    child.kill()
    assert status == 0
    assert results.get() == float(expected.features.sum())
    np.testing.assert_array_equal(encoder(points).features, expected.features)


def features_in_threads(encoder, clouds):
    """Sums of the features of each cloud, from one thread each that start together."""
    start = threading.Barrier(len(clouds))

    def work(points):
        start.wait()
        return [float(encoder(points).features.sum()) for _ in range(5)]

    with ThreadPoolExecutor(len(clouds)) as pool:
        return list(pool.map(work, clouds))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_of_forked_processes(encoder):
    """The first calls of a child come from several threads; the parent's thread holds the lock."""
    clouds = [random_points(count) for count in (9000, 40, 4000, 3)]
    expected = [[float(encoder(points).features.sum())] * 5 for points in clouds]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def child():
        results.put(features_in_threads(encoder, clouds) == expected)

    for held in [False] * 10 + [True] * 2:
        process = context.Process(target=child)
        with encoder._lock if held else contextlib.nullcontext():
            process.start()
        process.join(60)
        status = process.exitcode
        process.kill()
        assert status == 0
        assert results.get()


def test_a_closed_encoder(library):
    encoder = CompiledPillarEncoder(library, GRID, random_tables(), threads=2)
    points = random_points(100)
    encoder(points)
    encoder.close()
    encoder.close()
    with pytest.raises(ValueError, match="expected an open one, it was closed"):
        encoder(points)


@pytest.mark.parametrize("dtype", [complex, bool, object])
def test_points_that_are_no_numbers(encoder, dtype):
    with pytest.raises(ValueError, match=f"points: expected numbers, got dtype {np.dtype(dtype)}"):
        encoder(random_points(10).astype(dtype))


def test_bad_libraries(tmp_path, library, monkeypatch):
    """One line each, with what was expected and what came."""
    text = tmp_path / "text.so"
    text.write_text("no library\n")
    foreign = Path(np.linalg._umath_linalg.__file__)
    start = r"^encoder '.*{}': expected the libpadre3d_encoder that make cpp builds, "
    with pytest.raises(FileNotFoundError, match=start.format("none.so") + "or 'numpy', found no"):
        load_library(tmp_path / "none.so")
    for path, said in (
        (text, "got what cannot be loaded: .+"),
        (foreign, "got a library without padre3d_encoder_version"),
    ):
        with pytest.raises(BackendError, match=start.format(path.name) + said + "$"):
            load_library(path)
    monkeypatch.setattr(compiled_encoder, "VERSION", 7)
    with pytest.raises(BackendError, match="version 7, got version 1: build it again$"):
        load_library(library)


CREATE = {
    "grid": [*GRID.range_m, *GRID.cell_m],
    "columns": 3,
    "with_distance": 0,
    "layers": 2,
    "widths": [2, 4],
    "weights": (9 + 1) * 2 + (2 + 2 + 1) * 4,
    "threads": 2,
}


def create(library, **changes):
    """(handle, error) of padre3d_encoder_create."""
    said, a = ctypes.create_string_buffer(ROOMY), {**CREATE, **changes}
    handle = library.padre3d_encoder_create(
        np.array(a["grid"], np.float64),
        a["columns"],
        a["with_distance"],
        a["layers"],
        np.array(a["widths"], np.int64),
        np.zeros(a["weights"], np.float32),
        a["weights"],
        a["threads"],
        said,
        a.get("room", ROOMY),
    )
    return handle, said.value.decode()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (dict(grid=[0, 0, 0, 0, 1, 1, 1, 1]), "grid: expected minima below maxima, got (0, 0,"),
        (dict(columns=2), "columns: expected 3 to 1048576, got 2"),
        (dict(layers=0), "layers: expected at least one, got 0"),
        (dict(widths=[2, 0]), "width: expected 1 to 1048576, got 0"),
        (dict(widths=[2, -1]), "width: expected 1 to 1048576, got -1"),
        (dict(weights=39), "weights: expected at least 40 numbers, got 39"),
        (dict(weights=41), "weights: expected 40 numbers, got 41"),
        (dict(with_distance=1), "weights: expected at least 42 numbers, got 40"),
        (dict(threads=0), "threads: expected 1 to 2147483647, got 0"),
        (dict(columns=2, room=9), "columns:"),
    ],
)
def test_what_the_library_refuses(library, changes, error):
    """Tables that Python has checked already do not come that far."""
    handle, said = create(load_library(library), **changes)
    assert handle is None
    assert said.startswith(error)


def test_calls_out_of_order(library):
    library = load_library(library)
    handle, said = create(library)
    assert (handle is None, said) == (False, "")
    said, unusable = ctypes.create_string_buffer(ROOMY), ctypes.c_int64()
    cells, features = np.zeros(9, np.int64), np.zeros(36, np.float32)

    def encode():
        return library.padre3d_encoder_encode(handle, cells, features, said, ROOMY)

    assert encode() == -1
    assert said.value == b"encode: expected points located before"
    points = np.zeros((1, 3), np.float32)
    assert library.padre3d_encoder_locate(handle, points, 1, unusable, said, ROOMY) == 1
    assert encode() == 0
    assert cells[0] > 0
    assert library.padre3d_encoder_locate(handle, points, -1, unusable, said, ROOMY) == -1
    assert said.value == b"points: expected 0 to 2147483647, got -1"
    assert encode() == -1
    library.padre3d_encoder_destroy(handle)
    library.padre3d_encoder_destroy(None)


def test_errors_of_a_frame(encoder, monkeypatch):
    """What the library says when there is no memory left, say."""

    def locate(*arguments):
        arguments[-2].value = b"no memory"
        return -1

    monkeypatch.setattr(encoder, "_library", SimpleNamespace(padre3d_encoder_locate=locate))
    with pytest.raises(ValueError, match="^pillar encoder: no memory$"):
        encoder(random_points(10))


NO_MORE_THREADS = """
import resource, sys
from pathlib import Path
from test_cpp_encoder_library import TASKS, create, load_library
library = load_library(sys.argv[1])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), -1))
before = len(list(TASKS.iterdir()))
print(create(library, threads=1000), len(list(TASKS.iterdir())) - before)
"""


def test_no_more_threads(library, repo_root):
    """An error, and those that had started end."""
    if not TASKS.is_dir():
        pytest.skip("no /proc here")
    folders = os.pathsep.join(map(str, (repo_root, repo_root / "tests", Path(__file__).parent)))
    command = [sys.executable, "-c", NO_MORE_THREADS, library]
    environment = {**os.environ, "PYTHONPATH": folders}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    said = "expected its threads, the system gave no more: Resource temporarily unavailable"
    assert done.stdout == f"(None, {said!r}) 0\n"


def test_benchmark(library, tmp_path, monkeypatch):
    """A row beside numpy's, after a comparison of values that another encoder does not pass."""
    pytest.importorskip("mmdet3d")
    from benchmarks import common, overhead, tables

    manifest = parse_manifest(make_folder(tmp_path / "exported"))
    sizes = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "iou": 1, "heatmap": 2}
    raw = {name: np.ones((1, 20, n), np.float32) for name, n in sizes.items()}
    raw |= {"query_heatmap_score": raw["rot"], "query_labels": np.zeros((1, 20), np.int64)}
    grids = manifest.grid, manifest.head_grid
    frame = overhead.Frame(random_points(500), arrays(), raw, *grids, manifest.decode, 9)
    monkeypatch.setattr(overhead, "prepare", lambda *_: frame)
    monkeypatch.setattr(common, "product_gflops", lambda device, dtype: 100.0)
    monkeypatch.setattr(common, "copy_gb_per_s", lambda device: 10.0)

    words = ["--quick", "--device", "cpu", "--encoder", str(library), "--json"]
    overhead.main([*words, str(tmp_path / "out.json")])
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["gate"].keys() == {"compiled"}
    assert result["gate"]["compiled"] < CLOSE
    versions = ("now", "compiled")
    assert set(result["times"]) == {f"{p}, {v}" for p in overhead.Parts._fields for v in versions}
    rows = tables.overhead([result | {"folder": "cpu", "file": "overhead.json"}])
    assert rows.count("| compiled |") == 4
    encode = CompiledPillarEncoder.__call__
    for name, change in (("features", -1), ("cells", 1)):

        def other(self, points, name=name, change=change):
            found = encode(self, points)
            return found._replace(**{name: change * getattr(found, name)[::-1]})

        monkeypatch.setattr(CompiledPillarEncoder, "__call__", other)
        with pytest.raises(common.GateError, match="pillars"):
            overhead.main([*words, str(tmp_path / "wrong.json")])
    assert not (tmp_path / "wrong.json").exists()
