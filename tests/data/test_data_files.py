import numpy as np
import pytest

from padre3d.data.point_files import read_points, write_pickle


@pytest.fixture
def points(tmp_path):
    array = np.arange(35, dtype=np.float32).reshape(7, 5)
    array.tofile(tmp_path / "a.bin")
    return tmp_path / "a.bin", array


def test_read_returns_the_rows_and_they_may_be_changed(points):
    path, array = points
    read = read_points(path)
    np.testing.assert_array_equal(read, array)
    read[0, 0] = 5.0


def test_truncated_file_names_file_expected_and_found(points):
    path, array = points
    path.write_bytes(array.tobytes()[:-3])
    with pytest.raises(ValueError, match=r"a\.bin: expected rows of 5 float32.*found 137 bytes"):
        read_points(path)


def test_wrong_columns_hint_at_the_columns_that_fit(tmp_path):
    np.zeros((7, 4), np.float32).tofile(tmp_path / "kitti.bin")
    with pytest.raises(ValueError, match=r"kitti\.bin: expected rows of 5 .* fit 4 .*columns"):
        read_points(tmp_path / "kitti.bin")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(points, bad):
    path, array = points
    array[2, 1] = array[2, 4] = array[5, 0] = bad
    array.tofile(path)
    with pytest.raises(ValueError, match=r"a\.bin: .*NaN or infinity in 2 of 7 points"):
        read_points(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"point file not found: .*no\.bin"):
        read_points(tmp_path / "no.bin")


def test_empty_file_is_an_empty_cloud(tmp_path):
    (tmp_path / "empty.bin").touch()
    assert read_points(tmp_path / "empty.bin").shape == (0, 5)


def test_failed_pickle_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.pkl"
    write_pickle(path, [1, 2])
    before = path.read_bytes()
    with pytest.raises(AttributeError, match="local object"):
        write_pickle(path, [0] * 100_000 + [lambda: None])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.pkl"]
