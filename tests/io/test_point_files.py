"""Every point file format gives the same points; broken files name what is wrong."""

import numpy as np
import pytest
from other_clouds import write_pcd

from padre3d.io import drop_invalid, drop_unusable, load_points, point_files

POINTS = np.array(
    [
        [1.5, -2.25, 0.5, 10, 3],
        [-20.125, 30.5, -1.75, 255, 31],
        [0.25, 0.5, -1.0, 0, 0],
    ],
    np.float32,
)
LAGS = np.array([0, 0.05, 0.45], np.float32)


def without_fifth(points=POINTS):
    return np.concatenate([points[:, :4], np.zeros((len(points), 1), np.float32)], axis=1)


def with_lags(points=POINTS):
    return np.concatenate([points[:, :4], LAGS[:, None]], axis=1)


def write(path, table):
    table.tofile(path)
    return path


def test_ring_index_becomes_lag_zero_and_a_lag_stays(tmp_path):
    ring = load_points(write(tmp_path / "a.pcd.bin", POINTS))
    assert ring.dtype == np.float32
    np.testing.assert_array_equal(ring, without_fifth())
    lag = load_points(write(tmp_path / "b.bin", with_lags()))
    np.testing.assert_array_equal(lag, with_lags())


def test_time_lag_option_overrules_the_values(tmp_path):
    ring = write(tmp_path / "a.bin", POINTS[:1])
    np.testing.assert_array_equal(load_points(ring, time_lag=True), POINTS[:1])
    lag = write(tmp_path / "b.bin", with_lags())
    np.testing.assert_array_equal(load_points(lag, time_lag=False), without_fifth())
    with pytest.raises(ValueError, match="column 5 to be a time lag .* got 0 to 31"):
        load_points(write(tmp_path / "c.bin", POINTS), time_lag=True)


def test_float16_by_name_or_option(tmp_path):
    half = with_lags().astype(np.float16)
    expected = half.astype(np.float32)
    np.testing.assert_array_equal(load_points(write(tmp_path / "s_float16.bin", half)), expected)
    plain = write(tmp_path / "s.bin", half)
    np.testing.assert_array_equal(load_points(plain, 5, dtype="float16"), expected)
    with pytest.raises(ValueError, match="multiple of 20 bytes"):
        load_points(plain, 5)
    with pytest.raises(
        ValueError, match="--dtype: expected one of float32, float16, float64, got 'int8'"
    ):
        load_points(plain, dtype="int8")


@pytest.mark.parametrize("count", [3, 20, 41])
def test_columns_are_told_from_the_numbers(tmp_path, count):
    rng = np.random.default_rng(count)
    table = rng.uniform(-50, 50, (count, 5)).astype(np.float32)
    table[:, 3] = rng.integers(0, 256, count)
    table[:, 4] = rng.integers(0, 32, count)
    five = load_points(write(tmp_path / "five.bin", table))
    four = load_points(write(tmp_path / "four.bin", np.ascontiguousarray(table[:, :4])))
    np.testing.assert_array_equal(five, without_fifth(table))
    np.testing.assert_array_equal(four, five)


def test_ambiguous_or_senseless_columns_ask(tmp_path):
    path = write(tmp_path / "ones.bin", np.ones(20, np.float32))
    with pytest.raises(ValueError, match="expected 4 or 5 columns .* both read plausibly"):
        load_points(path)
    np.testing.assert_array_equal(load_points(path, 4)[0], [1, 1, 1, 1, 0])
    with pytest.raises(ValueError, match="got 20 numbers: of 4 and 5 columns they divide it"):
        load_points(write(tmp_path / "minus.bin", np.full(20, -1, np.float32)))
    with pytest.raises(ValueError, match="got 7 numbers: of 4 and 5 and 6 columns none"):
        load_points(write(tmp_path / "seven.bin", np.ones(7, np.float32)))


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_truncated_bin(tmp_path, cut):
    path = tmp_path / "t.pcd.bin"
    path.write_bytes(POINTS.tobytes()[:-cut])
    with pytest.raises(ValueError, match=rf"t.pcd.bin: .* multiple of 20 bytes .* got {60 - cut}"):
        load_points(path)


@pytest.mark.parametrize("suffix", [".bin", ".npy", ".pcd", ".ply"])
def test_empty_file(tmp_path, suffix):
    path = tmp_path / f"empty{suffix}"
    path.touch()
    with pytest.raises(ValueError, match=f"empty{suffix}: expected"):
        load_points(path)


def test_missing_folder_and_unknown_suffix(tmp_path):
    with pytest.raises(ValueError, match="none.bin: expected a point file, got no such file"):
        load_points(tmp_path / "none.bin")
    (tmp_path / "dir.bin").mkdir()
    with pytest.raises(ValueError, match="got a folder"):
        load_points(tmp_path / "dir.bin")
    with pytest.raises(ValueError, match=r"expected one of .bin, .npy, .pcd, .ply, got '.laz'"):
        load_points(tmp_path / "x.laz")
    with pytest.raises(ValueError, match="--columns: expected 3 or more, got 2"):
        load_points(write(tmp_path / "x.bin", POINTS), 2)


def test_npy_of_three_to_five_columns(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, POINTS.astype(np.float64))
    np.testing.assert_array_equal(load_points(path), without_fifth())
    np.save(path, POINTS[:, :3])
    expected = without_fifth()
    expected[:, 3] = 0
    np.testing.assert_array_equal(load_points(path), expected)
    with pytest.raises(ValueError, match="a.npy: expected 5 columns, got 3"):
        load_points(path, 5)
    np.save(path, np.zeros((0, 5), np.float32))
    assert load_points(path).shape == (0, 5)


@pytest.mark.parametrize("array", [np.zeros(5), np.zeros((2, 6)), np.array([["a", "b", "c"]])])
def test_npy_of_something_else(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"a.npy: expected a \(P, 3 to 5\) array"):
        load_points(tmp_path / "a.npy")


def test_truncated_npy(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, POINTS)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="a.npy: expected a complete .npy"):
        load_points(path)


def test_intensity_scale_and_warning(tmp_path):
    table = POINTS[:, :4].copy()
    table[:, 3] = [0.2, 1.0, 0.0]
    path = write(tmp_path / "kitti.bin", table)
    with pytest.warns(UserWarning, match="--intensity-scale 255"):
        raw = load_points(path)
    np.testing.assert_array_equal(raw[:, 3], table[:, 3])
    scaled = load_points(path, intensity_scale=255)
    np.testing.assert_allclose(scaled[:, 3], [51, 255, 0], rtol=1e-6)


def test_invalid_rows_are_kept_then_dropped_and_counted(tmp_path):
    table = np.concatenate([POINTS, POINTS])
    table[1, 0], table[4, 3] = np.nan, np.inf
    points = load_points(write(tmp_path / "a.bin", table))
    assert len(points) == 6
    kept, dropped = drop_invalid(points)
    assert dropped == 2
    np.testing.assert_array_equal(kept, without_fifth(table[[0, 2, 3, 5]]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["a.npy", "a.bin", "a.pcd"])
def test_numbers_beyond_float32_are_dropped_without_a_word_of_numpy(tmp_path, name):
    table = np.tile(POINTS[:, :4].astype("f8"), (2, 1))
    table[1, 0], table[4, 3] = 1e300, -1e300
    if name == "a.npy":
        np.save(tmp_path / name, table)
    elif name == "a.bin":
        write(tmp_path / name, table)
    else:
        write_pcd(tmp_path / name, dict(zip(("x", "y", "z", "intensity"), table.T, strict=True)))
    given = dict(columns=4, dtype="float64") if name == "a.bin" else {}
    points = load_points(tmp_path / name, **given)
    kept, dropped = drop_unusable(points)
    assert dropped.total == 2
    np.testing.assert_array_equal(kept, without_fifth(table[[0, 2, 3, 5]]))


def test_million_and_a_half_points(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(0, 20, (1_500_000, 5)).astype(np.float32)
    table[:, 3:] = rng.integers(0, 32, (len(table), 2))
    points = load_points(write(tmp_path / "big.bin", table))
    np.testing.assert_array_equal(points[:, :4], table[:, :4])
    assert not points[:, 4].any()


def test_point_files_of_folders(tmp_path):
    for name in ("b.bin", "a.npy", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in point_files([tmp_path])] == ["a.npy", "b.bin"]
    with pytest.raises(ValueError, match="different names, got a twice"):
        point_files([tmp_path, tmp_path / "a.pcd"])
    (tmp_path / "sub").mkdir()
    with pytest.raises(ValueError, match="sub: expected .* files, got none"):
        point_files([tmp_path / "sub"])


def test_real_frames(real_dir):
    sweep = load_points(next(real_dir.glob("n015*.pcd.bin")))
    assert sweep.shape == (34_688, 5)
    assert sweep[:, 3].max() == 255
    assert not sweep[:, 4].any()
    sweeps = load_points(next(real_dir.glob("*_float16.bin")))
    assert sweeps.shape == (271_156, 5)
    np.testing.assert_allclose(np.unique(sweeps[:, 4]), np.arange(10) * 0.05, atol=5e-4)
