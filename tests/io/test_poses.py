"""Tables of poses and what lies between their rows."""

import numpy as np
import pytest
from pyquaternion import Quaternion

from padre3d.io.poses import checked_pose, pose_matrix, read_poses, rigid_inverse, seconds

HEADER = "stamp,x,y,z,qw,qx,qy,qz\n"


def table(path, text):
    path.write_text(text)
    return read_poses(path)


def test_rows_in_any_order_and_of_any_length(tmp_path):
    poses = table(
        tmp_path / "p.csv",
        "file, qz,qy,qx,qw,z,y,x,stamp,token\n"
        "b.bin,2,0,0,2,3,2,1,1532402927.5,two\n"
        "a.bin,0,0,0,1,0,0,0,1532402927.0,one\n",
    )
    assert poses.files == ("a.bin", "b.bin")
    assert poses.tokens == ("one", "two")
    np.testing.assert_allclose(poses.row(1)[:3, :3], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    half = poses.at(1532402927.25)
    np.testing.assert_allclose(half[:3, 3], [0.5, 1, 1.5])
    eighth = Quaternion(axis=[0, 0, 1], degrees=45).rotation_matrix
    np.testing.assert_allclose(half[:3, :3], eighth, atol=1e-12)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    text = f"\ufeff{HEADER}1,0,0,0,1,0,0,0\n"
    (tmp_path / "p.csv").write_bytes(text.encode("utf-8"))
    assert read_poses(tmp_path / "p.csv").stamps_s.tolist() == [1]


def test_times_without_a_pose(tmp_path):
    """At 10 m/s a pose of 0.9 s before the table would be 9 m off."""
    rows = [f"{t},{10 * t},0,0,1,0,0,0\n" for t in (5, 5.5, 7, 8.5)]
    poses = table(tmp_path / "p.csv", HEADER + "".join(rows))
    np.testing.assert_array_equal(poses.at(4.95), poses.row(0))
    np.testing.assert_array_equal(poses.at(8.55), poses.row(3))
    for stamp in (4.85, 4.1, 8.65, 9.4):
        with pytest.raises(
            ValueError, match=r"within 0\.1 s of the poses, .* 5\.000 to 8\.500 s, g"
        ):
            poses.at(stamp)
    for stamp in (5.6, 6.9, 7.1):
        with pytest.raises(
            ValueError, match=rf"at most 1 s apart around {stamp:.3f} s, got [57]\."
        ):
            poses.at(stamp)
    np.testing.assert_array_equal(poses.at(7), poses.row(2))


def test_the_shorter_way_round(tmp_path):
    a, b = Quaternion(axis=[0, 1, 1], degrees=170), Quaternion(axis=[0, 1, 1], degrees=-170)
    rows = [f"{t},0,0,0,{','.join(map(str, q.elements))}" for t, q in enumerate((a, -b))]
    poses = table(tmp_path / "p.csv", HEADER + "\n".join(rows))
    expected = Quaternion.slerp(a, b, 0.3).rotation_matrix
    np.testing.assert_allclose(poses.at(0.3)[:3, :3], expected, atol=1e-9)


@pytest.mark.parametrize("stamp", [1532402927.5, 1532402927500, 1532402927500000, 1.5324029275e18])
def test_stamps_of_every_unit(stamp):
    assert seconds(stamp) == pytest.approx(1532402927.5, abs=1e-6)


def test_matrices():
    q = Quaternion([0.3, -0.5, 0.7, 0.1])
    pose = pose_matrix([1, 2, 3], q.elements)
    np.testing.assert_allclose(pose[:3, :3], q.normalised.rotation_matrix, atol=1e-12)
    np.testing.assert_allclose(checked_pose([1, 2, 3, *q.elements]), pose)
    np.testing.assert_allclose(rigid_inverse(pose) @ pose, np.eye(4), atol=1e-12)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "expected a header with stamp,x,y,z,qw,qx,qy,qz and rows, got no row"),
        ("1.0,0,0,0,1,0,0,0\n2.0,0,0,0,1,0,0,0\n", "expected a header with stamp"),
        ("stamp,x,y,z\n1,2,3,4\n", "and rows, got stamp, x, y, z"),
        (HEADER + "1,0,0,0,1,0,0,north\n", "numbers in every row: could not convert.*north"),
        (HEADER + "1,0,0,0,1,0\n", "a value for every column, got fewer in row 1"),
        ("x," + HEADER + "5,1,0,0,0,1,0,0,0\n", "every column once, got x twice"),
        (HEADER + "1,0,0,0,0,0,0,0\n", "quaternions other than 0"),
        (HEADER + "1,nan,0,0,1,0,0,0\n", "finite numbers"),
        (HEADER + "1,0,0,0,1,0,0,0\n1,0,0,0,1,0,0,0\n", "different stamps, got one twice"),
    ],
)
def test_tables_that_are_none(tmp_path, text, match):
    with pytest.raises(ValueError, match=rf"p\.csv: .*{match}"):
        table(tmp_path / "p.csv", text)


def test_a_missing_table(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv: expected a table of poses: .*No such file"):
        read_poses(tmp_path / "none.csv")
