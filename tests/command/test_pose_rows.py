"""Which row of a table of poses belongs to which file."""

from pathlib import Path

import pytest

from padre3d.command.frames import file_frames, with_poses
from padre3d.io import ReadOptions
from padre3d.io.poses import read_poses

FILES = ("clouds/yard/0000.npy", "clouds/street/0000.npy")


def posed(folder, rows, files=FILES):
    """File -> x of its pose."""
    path = folder / "poses.csv"
    head = "file,stamp,x,y,z,qw,qx,qy,qz\n"
    path.write_text(head + "".join(f"{r},{i}.0,{i},0,0,1,0,0,0\n" for i, r in enumerate(rows)))
    frames = file_frames([folder / file for file in files], {".npy": ReadOptions()})
    found = with_poses(frames, read_poses(path))
    return {Path(frame.source).relative_to(folder).as_posix(): frame.pose[0, 3] for frame in found}


@pytest.mark.parametrize(
    "rows",
    [
        ("street/0000.npy", "yard/0000.npy"),
        ("street/0000", "yard/0000"),
        ("clouds/street/0000", "./yard/0000.npy"),
    ],
)
def test_recordings_with_files_of_one_name(tmp_path, rows):
    assert posed(tmp_path, rows) == {FILES[0]: 1, FILES[1]: 0}
    assert posed(tmp_path, rows, FILES[:1]) == {FILES[0]: 1}


def test_a_name_in_the_working_folder(tmp_path, monkeypatch):
    """The row may have more folders than the path on the command line."""
    (tmp_path / "clouds/yard").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clouds/yard")
    frames = file_frames([Path("0000.npy")], {".npy": ReadOptions()})
    path = tmp_path / "p.csv"
    path.write_text("file,stamp,x,y,z,qw,qx,qy,qz\nyard/0000,5,0,0,0,1,0,0,0\n")
    (frame,) = with_poses(frames, read_poses(path))
    assert frame.stamp_s == 5


def test_nuscenes_names_and_absolute_ones(tmp_path):
    name = "samples/n015__LIDAR_TOP__1532402927.npy"
    assert posed(tmp_path, [f"{tmp_path}/{name}", "other.npy"], [name]) == {name: 0}


@pytest.mark.parametrize(
    ("rows", "files", "match"),
    [
        (("street/0000", "x/0000"), FILES[:1], r"one row for .*yard/0000\.npy .*, got none"),
        (("treet/0000", "yard/0000"), FILES[1:], r"one row for .*, got none"),
        (("0000", "yard/0000.npy"), FILES[:1], "got 0000 and yard/0000.npy"),
        (("0000.npy",), FILES, r"a row for one file, got 0000\.npy for .*yard.* and .*street"),
        (("/street/0000.npy",), FILES[1:], "got none"),
    ],
)
def test_rows_that_do_not_tell(tmp_path, rows, files, match):
    with pytest.raises(ValueError, match=f"--poses: .*{match}"):
        posed(tmp_path, rows, files)


def test_rows_without_names_are_the_frames_in_their_order(tmp_path):
    """Also where their stamps do not ascend; what comes out is in the order of time."""
    path = tmp_path / "p.csv"
    rows = ((7, 70, "late"), (5, 50, "early"), (6, 60, "between"))
    lines = "".join(f"{stamp},{x},0,0,1,0,0,0,{token}\n" for stamp, x, token in rows)
    path.write_text("stamp,x,y,z,qw,qx,qy,qz,token\n" + lines)
    frames = file_frames([Path(f"{name}.npy") for name in "abc"], {".npy": ReadOptions()})
    found = with_poses(frames, read_poses(path))
    assert [(f.name, f.stamp_s, f.pose[0, 3], f.token) for f in found] == [
        ("b", 5, 50, "early"),
        ("c", 6, 60, "between"),
        ("a", 7, 70, "late"),
    ]
