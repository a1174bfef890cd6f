"""What goes wrong with a folder of one's own: named before the first write, and nothing is lost."""

import json

import numpy as np
import pytest
from mmengine.fileio import load
from test_data_folder import cloud, infos, prepare, write_folder
from test_data_kitti import write_kitti

from padre3d.data import prepare_frames as module
from padre3d.data.folder import folder_frames, read_split
from padre3d.data.kitti import kitti_frames
from padre3d.io.lock import LockedError, lock


def contents(root):
    return {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(tag="../x"), r"extra tag: expected letters, .*got '\.\./x'"),
        (dict(workers=-3), "expected workers >= 1, got -3"),
        (dict(max_sweeps=-1), "expected max_sweeps >= 0, got -1"),
        (dict(classes=["cat"]), r"--classes: expected names among \['dog', 'shuttle'\]"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, match):
    root = write_folder(tmp_path / "mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=match):
        prepare(root, **settings)
    assert sorted(tmp_path.rglob("*")) == before


def test_all_outputs_or_none(tmp_path, monkeypatch):
    root = write_folder(tmp_path)
    prepare(root)
    other = root / "samples/LIDAR_TOP/of_another.bin"
    other.write_bytes(b"theirs")
    for path in (root / "clouds").rglob("*.bin"):
        cloud(path, seed=99)
    last = root / "clouds/b/002.bin"
    whole = last.read_bytes()
    last.write_bytes(whole[:-3])
    before = contents(root)
    with pytest.raises(ValueError, match=rf"{last.name}: expected a multiple of 16 bytes"):
        prepare(root)
    assert contents(root) == before

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    last.write_bytes(whole)
    before = contents(root)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_database", full)
        with pytest.raises(OSError, match="No space"):
            prepare(root)
    with pytest.raises(OSError, match="No space"):
        prepare(root, also=full)
    assert contents(root) == before
    prepare(root)
    after = contents(root)
    assert after.keys() == before.keys()
    changed = {p.parent.name for p in before if after[p] != before[p]}
    assert {"LIDAR_TOP", "nuscenes_gt_database"} <= changed
    assert other.read_bytes() == b"theirs"


def test_a_second_run_is_refused(tmp_path):
    root = write_folder(tmp_path)
    with (
        lock(root / ".nuscenes.lock", "not said"),
        pytest.raises(LockedError, match=f"another create_data is at work in {root} .process "),
    ):
        prepare(root)
    assert not (root / "samples").exists()


def test_classes_may_have_any_name(tmp_path):
    """The names of files in the database come from them."""
    root = write_folder(tmp_path)
    labels = root / "labels.csv"
    labels.write_text(labels.read_text().replace("shuttle", "../car/van 2"))
    assert prepare(root).classes == ("../car/van 2", "dog")
    entries = load(root / "nuscenes_dbinfos_train.pkl")["../car/van 2"]
    assert len(entries) == 2
    for entry in entries:
        assert (root / entry["path"]).parent == root / "nuscenes_gt_database"
        assert len(np.fromfile(root / entry["path"], np.float32)) > 0


def test_clouds_of_one_name_are_refused(tmp_path):
    root = write_folder(tmp_path)
    cloud(root / "clouds/a__000.bin")
    labels = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text(f"{labels}\na__000,dog,1,1,0,1,1,1,0,,,")
    (root / "poses.csv").unlink()
    message = "expected names that differ with __ for /, got a/000 and a__000"
    with pytest.raises(ValueError, match=message):
        prepare(root)
    assert not (root / "samples").exists()


def test_a_short_recording_has_all_its_sweeps(tmp_path):
    """Four frames: the last key frame has two before it, three sweeps with its own."""
    root = write_folder(tmp_path)
    assert [len(info.get("lidar_sweeps", [])) for info in infos_of(root)] == [0, 2]
    assert prepare(root).num_sweeps == 3
    assert prepare(root, max_sweeps=2).num_sweeps == 2
    made = prepare(root, max_sweeps=0)
    assert made.num_sweeps == 1
    assert not [note for note in made.notes if "no stamps" in note]


def infos_of(root):
    prepare(root)
    return infos(root)


def test_a_table_of_a_spreadsheet(tmp_path):
    """It begins with a byte order mark."""
    root = write_folder(tmp_path)
    text = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text(text, encoding="utf-8-sig")
    assert sum(frame.labels is not None for frame in folder_frames(root)) == 4


DEEP = b"[" * 100_000
BAD = {
    "csv of bytes": ("labels.csv", b"frame,name\n\xff\xfe", "expected labels, got"),
    "csv of a long cell": ("labels.csv", b"frame,name\n" + b"x" * 200_000, "labels as CSV, got"),
    "torn json": ("labels.json", b'{"a/000": [', "expected labels as JSON, got"),
    "deep json": ("labels.json", DEEP, "expected labels as JSON, got"),
    "number": ("labels.json", b"3", "expected a list of objects, or frame -> list, got 3"),
    "no list": ("labels.json", b'{"a/000": 3}', "expected a list of objects for a/000, got 3"),
    "no object": ("labels.json", b'{"a/000": [3]}', "expected an object with a name and a box"),
    "strings": ("labels.json", b'["dog"]', "expected an object with a name and a box, got 'dog'"),
    "poses of bytes": ("poses.csv", b"file,stamp\n\xff", "expected poses, got"),
    "pose that is NaN": (
        "poses.csv",
        b"file,stamp,x,y,z,qw,qx,qy,qz\na/000,0,nan,0,0,1,0,0,0",
        "2: ",
    ),
    "no rotation": (
        "poses.csv",
        b"file,stamp,x,y,z,qw,qx,qy,qz\na/000,0,0,0,0,0,0,0,0",
        "line 2: ",
    ),
}


@pytest.mark.parametrize(("name", "content", "match"), BAD.values(), ids=BAD)
def test_tables_that_are_none(tmp_path, name, content, match):
    root = write_folder(tmp_path)
    if name.startswith("labels"):
        (root / "labels.csv").unlink()
    (root / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*{match}"):
        folder_frames(root)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"train": 3, "val": []}', b'{"train": []}', b"\xff", DEEP]
)
def test_split_files_that_are_none(tmp_path, content):
    (tmp_path / "split.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"split\.json: expected (a split|lists train and val)"):
        read_split(tmp_path, None)


@pytest.mark.parametrize("name", ["label_2/000000.txt", "calib/000000.txt"])
def test_bytes_in_kitti_s_text_files(tmp_path, name):
    root = write_kitti(tmp_path, 1)
    (root / "training" / name).write_bytes(b"P2: \xff")
    with pytest.raises(ValueError, match="000000.txt: expected (labels|a calibration), got"):
        kitti_frames(root)


def test_a_calibration_without_inverse(tmp_path):
    root = write_kitti(tmp_path, 1)
    path = root / "training/calib/000000.txt"
    path.write_text(path.read_text().replace("R0_rect: 1", "R0_rect: 0"))
    with pytest.raises(ValueError, match="000000.txt: expected P2, R0_rect and Tr_velo_to_cam"):
        kitti_frames(root)


@pytest.fixture
def refused(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    from create_data import main

    def run(match, *arguments):
        with pytest.raises(SystemExit, match=match):
            main([*map(str, arguments)])

    return run


def test_options_of_another_kind_are_refused(tmp_path, refused):
    own = ("--root-path", write_folder(tmp_path))
    refused("^error: --version: expected the kind nuscenes", "folder", *own, "--version", "v1")
    refused("^error: --categories: expected the kind nus", "kitti", *own, "--categories", "c.json")
    for option in (("--axes", "kitti"), ("--classes", "car"), ("--seed", "3"), ("--time-lag",)):
        refused(f"^error: {option[0]}: expected the kind folder or kitti", "nuscenes", *option)


def test_what_the_config_needs_is_looked_at_first(tmp_path, refused, repo_root):
    root = write_folder(tmp_path)
    own = ("folder", "--root-path", root, "--columns", "4")
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    before = contents(root)
    refused("^error: --range: expected six numbers", *own, "--range", "1,2")
    refused("^error: --range 0,0,-5,1,1,3: .* divides the range", *own, "--range", "0,0,-5,1,1,3")
    refused("none.py", *own, "--config", "none.py")
    refused("empty.py: expected a config with model.grid", *own, "--config", empty)
    assert contents(root) == before
    mine = root / "detector.py"
    base = repo_root / "configs/dsvt_padre2_synthetic.py"
    mine.write_text(f"_base_ = [{str(base)!r}]\n")
    before = contents(root)
    refused("^error: detector.py .*expected a file of its own, got the inp", *own, "--config", mine)
    assert contents(root) == before


def test_categories_that_are_no_json(tmp_path, refused):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"vehicle.car": "car"})[:-1])
    refused(r"^error: .*c\.json: expected categories as JSON", "nuscenes", "--categories", path)
