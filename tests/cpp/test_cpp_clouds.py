"""Point files and sweeps in C++: read as padre3d.io reads them, joined as padre3d.runtime does."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from padre3d.io import drop_unusable, load_points
from padre3d.io.poses import pose_matrix
from padre3d.runtime.sweep_buffer import SweepBuffer


def rows(columns=5, count=400, seed=0):
    """A cloud with a row of each kind that does not count."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-50, 50, (count, columns))
    points[:, 3:4] = rng.integers(0, 256, (count, min(columns, 4) - 3))
    if columns > 4:
        points[:, 4] = rng.integers(0, 10, count) * 0.05
    points[7, 1], points[11, 0] = np.nan, np.inf
    points[30, :3] = 0
    return points


def with_absurd(points):
    """A .bin with such a coordinate reads as no cloud."""
    points[20, 2] = 3e8
    return points


def with_column(values):
    points = rows()
    points[:, 4] = values
    return points


ASCENDING = np.arange(400) * 1e-4
CLOUDS = {
    "lag.bin": (rows(), np.float32),
    "lag_float16.bin": (rows().clip(-6e4, 6e4), np.float16),
    "ring.pcd.bin": (with_column(np.arange(400) % 32), np.float32),
    "ring300.bin": (with_column(np.arange(400) % 300), np.float32),
    "four.bin": (rows(4), np.float32),
    "four.npy": (with_absurd(rows(4)), np.float64),
    "three.npy": (with_absurd(rows(3)), np.float32),
    "stamps.npy": (with_column(1.6e9 + ASCENDING), np.float64),
    "stamps_ns.npy": (with_column((1.6e9 + ASCENDING) * 1e9), np.float64),
    "stamps_ms.bin": (with_column(ASCENDING * 1e3), np.float32),
    "coarse.bin": (with_column(1.6e9 + 100 * ASCENDING), np.float32),
    "old_first.npy": (with_column(-np.sort(rows()[:, 4])), np.float32),
    "elongation.bin": (with_column(np.random.default_rng(1).uniform(0, 3, 400)), np.float32),
    "nothing.npy": (with_column(np.nan), np.float32),
    "unit.bin": (rows() * [1, 1, 1, 1 / 255, 1], np.float32),
    "whole.npy": (np.nan_to_num(rows(), posinf=3), np.int16),
    "fortran.npy": (np.asfortranarray(rows()), np.float32),
}


def write(path: Path, values, dtype):
    with np.errstate(over="ignore", invalid="ignore"):
        table = values.astype(dtype)
    np.save(path, table) if path.suffix == ".npy" else table.tofile(path)
    return path


@pytest.mark.parametrize("name", CLOUDS)
def test_same_points(cpp, tmp_path, name):
    path = write(tmp_path / name, *CLOUDS[name])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        expected, dropped = drop_unusable(load_points(path))
    counts, *lines = cpp.tool("cloud", path, tmp_path / "out.npy").splitlines()
    assert counts == f"{dropped.invalid} {dropped.absurd} {dropped.origin}"
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert len(lines) == len(said)


@pytest.mark.parametrize("name", ["LAG.BIN", "RING.PCD.Bin", "FOUR.NPY"])
def test_suffixes_in_capitals(cpp, tmp_path, name):
    path = write(tmp_path / name.lower(), *CLOUDS[name.lower()])
    path = path.rename(tmp_path / name)
    expected, _ = drop_unusable(load_points(path))
    cpp.tool("cloud", path, tmp_path / "out.npy")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.bin", b"", "expected points, got an empty file"),
        ("a.pcd.bin", bytes(41), "expected a multiple of 20 bytes (5 columns of f4), got 41"),
        ("a.bin", bytes(42), "the file is cut off"),
        ("a.bin", rows(6, 100).astype("<f4").tobytes(), "give --columns"),
        ("a.bin", rows(7, 61).astype("<f4").tobytes(), "read as no point cloud"),
        ("a.pcd.bin", rows(4, 4000).astype("<f4").tobytes(), "--columns 4 reads them so"),
        ("a.npy", b"\x93NUMPY\1\0\x20\0", "expected a complete .npy array"),
        ("a.npy", rows().astype("<f4").tobytes(), "no .npy array"),
        ("a.txt", b"1 2 3", "expected a .bin or .npy file, got '.txt'"),
        ("gone.bin", None, "expected a point file, got none"),
    ],
)
def test_bad_files(cpp, tmp_path, name, content, message):
    """One line that names the file; Python refuses it too, or reads another format."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=name):
        load_points(path)
    done = cpp.run("padre3d_test_tool", "cloud", path, tmp_path / "out.npy")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"error: {path}: ")
    assert message in done.stderr


def test_a_cut_npy(cpp, tmp_path):
    path = write(tmp_path / "cut.npy", rows(), np.float32)
    path.write_bytes(path.read_bytes()[:-3])
    done = cpp.run("padre3d_test_tool", "cloud", path, tmp_path / "out.npy")
    assert "an array of shape (400, 5), 8000 bytes, got 7997" in done.stderr


@pytest.mark.parametrize(
    ("num_sweeps", "stride", "pad", "radius", "max_lag"),
    [
        (10, 1, 1, 1.0, 0),
        (3, 1, 1, 6.0, 0),
        (4, 2, 1, 1.0, 0),
        (10, 1, 0, 1.0, 0.3),
        (1, 1, 1, 1, 0),
    ],
)
@pytest.mark.parametrize("pushed", [1, 9])
def test_sweeps(cpp, tmp_path, num_sweeps, stride, pad, radius, max_lag, pushed):
    rng = np.random.default_rng(pushed)
    poses = np.c_[np.cumsum(rng.uniform(0, 2, (pushed, 3)), 0) + 3e5, rng.normal(size=(pushed, 4))]
    clouds = {f"cloud{i}": rows(4 + i % 3, 40 + i, i).astype(np.float32) for i in range(pushed)}
    stamps = 1.6e9 + np.cumsum(rng.uniform(0.04, 0.2, pushed))
    np.savez(tmp_path / "sweeps.npz", stamps=stamps, poses=poses, **clouds)
    words = (num_sweeps, stride, pad, radius, max_lag)
    cpp.tool("sweeps", tmp_path / "sweeps.npz", tmp_path / "out.npy", *words)
    buffer = SweepBuffer(
        num_sweeps,
        stride=stride,
        pad=bool(pad),
        close_radius_m=radius,
        max_lag_s=max_lag or None,
        lidar_to_ego=pose_matrix([0.9, 0, 1.8], [0.7, 0, 0, -0.7]),
    )
    for cloud, stamp, pose in zip(clouds.values(), stamps, poses, strict=True):
        buffer.push(cloud, stamp, pose)
    found, expected = np.load(tmp_path / "out.npy"), buffer.cloud()
    assert found.shape == expected.shape
    finite = np.isfinite(expected).all(1) & (np.abs(expected) < 1e4).all(1)
    assert finite.sum() > 0.8 * len(expected)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=0, atol=2e-5)
