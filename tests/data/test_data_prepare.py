import json
import os

import numpy as np
import pytest
from mmengine.fileio import load

from padre3d.data import prepare
from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.nuscenes_tables import TABLES
from padre3d.data.prepare import prepare_nuscenes
from padre3d.io import staging
from padre3d.io.lock import LockedError, lock


def outputs(root):
    return sorted(p.name for p in root.iterdir() if "nuscenes_" in p.name)


def fails(root, error, match, version="v1.0-mini"):
    with pytest.raises(error, match=match):
        prepare_nuscenes(root, version)
    assert outputs(root) == []


@pytest.mark.parametrize("table", TABLES)
def test_missing_table(raw_root, table):
    (raw_root / "v1.0-mini" / f"{table}.json").unlink()
    fails(raw_root, FileNotFoundError, rf"missing \['{table}\.json'\]")


def test_wrong_version_names_the_tables_that_are_there(raw_root):
    fails(
        raw_root, FileNotFoundError, "v1.0-trainval in .*found tables of v1.0-mini", "v1.0-trainval"
    )
    fails(raw_root, ValueError, "expected a version among .*got 'v2'", "v2")
    fails(raw_root / "maps", FileNotFoundError, "found no table folder")


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match="nuScenes directory not found: .*nowhere"):
        prepare_nuscenes(tmp_path / "nowhere", "v1.0-mini")


def test_missing_map_image(raw_root):
    (raw_root / "maps/tiny.png").unlink()
    fails(raw_root, FileNotFoundError, r"map images .*missing \['maps/tiny\.png'\]")


def test_torn_table(raw_root):
    table = raw_root / "v1.0-mini/sample_annotation.json"
    table.write_text(table.read_text()[:-20])
    fails(raw_root, ValueError, "not valid JSON")


@pytest.mark.parametrize("folder", ["samples", "sweeps"])
def test_missing_point_files(raw_root, folder):
    files = sorted((raw_root / folder / "LIDAR_TOP").iterdir())
    for file in files[-2:]:
        file.unlink()
    fails(raw_root, FileNotFoundError, f"expected 72 LiDAR files .*missing 2: {folder}/LIDAR_TOP/")


def test_truncated_point_file(raw_root):
    file = sorted((raw_root / "sweeps/LIDAR_TOP").iterdir())[3]
    file.write_bytes(file.read_bytes()[:-7])
    fails(raw_root, ValueError, f"{file.name}: expected rows of 5")


def test_empty_split(raw_root):
    table = raw_root / "v1.0-mini/scene.json"
    scenes = json.loads(table.read_text())
    next(s for s in scenes if s["name"] == "scene-0103")["name"] = "scene-0553"
    table.write_text(json.dumps(scenes))
    fails(
        raw_root, ValueError, r"split val of v1.0-mini is empty.*scene-0103.*found \['scene-0061'"
    )


def test_sample_without_lidar(raw_root):
    table = raw_root / "v1.0-mini/sample_data.json"
    rows = json.loads(table.read_text())
    next(r for r in rows if r["is_key_frame"])["is_key_frame"] = False
    table.write_text(json.dumps(rows))
    fails(raw_root, ValueError, "expected a LIDAR_TOP key frame, found")


def test_test_version_has_neither_annotations_nor_database(raw_root):
    (raw_root / "v1.0-mini").rename(raw_root / "v1.0-test")
    table = raw_root / "v1.0-test/scene.json"
    scenes = json.loads(table.read_text())
    scenes[0]["name"] = "scene-0077"
    table.write_text(json.dumps(scenes))
    prepare_nuscenes(raw_root, "v1.0-test")
    assert outputs(raw_root) == ["nuscenes_infos_test.pkl"]
    infos = load(raw_root / "nuscenes_infos_test.pkl")["data_list"]
    assert [info["instances"] for info in infos] == [[]] * 4
    prefix = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
    dataset = NuScenesSweepsDataset(
        str(raw_root), "nuscenes_infos_test.pkl", data_prefix=prefix, test_mode=True
    )
    assert dataset.metainfo["version"] == "v1.0-test"
    assert len(dataset.get_data_info(1)["eval_ann_info"]["gt_labels_3d"]) == 0


def test_out_dir_and_tag(raw_root, tmp_path):
    out = tmp_path / "deep" / "out"
    written = prepare_nuscenes(raw_root, "v1.0-mini", out=out, tag="mine", max_sweeps=3)
    assert sorted(p.name for p in written) == sorted(p.name for p in out.iterdir())
    assert "mine_gt_database" in {p.name for p in written}
    assert outputs(raw_root) == []
    infos = load(out / "mine_infos_val.pkl")["data_list"]
    assert [len(i.get("lidar_sweeps", [])) for i in infos] == [0, 3, 3, 3, 3]


def change_table(root, name, change):
    table = root / "v1.0-mini" / f"{name}.json"
    rows = json.loads(table.read_text())
    change(rows)
    table.write_text(json.dumps(rows))


def test_empty_point_file(raw_root):
    file = sorted((raw_root / "samples/LIDAR_TOP").iterdir())[-1]
    file.write_bytes(b"")
    fails(raw_root, ValueError, f"{file.name}: expected points, found an empty file")


def test_nan_in_a_sweep_to_validate_on(raw_root):
    file = sorted((raw_root / "sweeps/LIDAR_TOP").glob("scene-0103*"))[-1]
    points = np.fromfile(file, np.float32)
    points[7] = np.nan
    points.tofile(file)
    fails(raw_root, ValueError, f"{file.name}: expected finite values, found NaN")


def test_a_file_cut_off_between_rows_is_warned_of(raw_root):
    file = sorted((raw_root / "samples/LIDAR_TOP").iterdir())[-1]
    file.write_bytes(file.read_bytes()[: 20 * 30])
    with pytest.warns(UserWarning, match=f"1 of .* point files have less than half .*{file.name}"):
        prepare_nuscenes(raw_root, "v1.0-mini")


@pytest.mark.parametrize("table", ["ego_pose", "calibrated_sensor"])
@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("rotation", [0.0] * 4, r"expected a quaternion of length 1, got \[0"),
        ("rotation", [1.0, 0, 0], "expected a finite rotation of 4"),
        ("translation", [float("nan"), 0, 0], "expected a finite rotation .* translation of 3"),
    ],
)
def test_poses_that_are_none(raw_root, table, key, value, match):
    change_table(raw_root, table, lambda rows: rows[-1].update({key: value}))
    fails(raw_root, ValueError, f"{table} .*: {match}")


@pytest.mark.parametrize(
    ("table", "key"),
    [("sample", "timestamp"), ("sample_annotation", "size"), ("sample_data", "ego_pose_token")],
)
def test_rows_that_lack_something(raw_root, table, key):
    change_table(raw_root, table, lambda rows: [row.pop(key) for row in rows])
    fails(raw_root, ValueError, "v1.0-mini: expected nuScenes tables, got rows .*KeyError: ")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(workers=-3), "expected workers >= 1, got -3"),
        (dict(max_sweeps=-1), "expected max_sweeps >= 0, got -1"),
        (dict(tag="../x"), r"extra tag: expected letters, .*got '\.\./x'"),
        (dict(tag=""), "extra tag: expected letters"),
        (dict(categories={"vehicle.car": 3}), "categories: expected an object of category and cl"),
        (dict(categories=["car"]), "categories: expected an object"),
        (dict(categories={}), "categories: expected an object"),
    ],
)
def test_settings_that_cannot_be(raw_root, settings, match):
    before = sorted(raw_root.parent.rglob("*"))
    with pytest.raises(ValueError, match=match):
        prepare_nuscenes(raw_root, "v1.0-mini", **settings)
    assert sorted(raw_root.parent.rglob("*")) == before


def contents(root):
    return {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_all_outputs_or_none(raw_root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare_nuscenes(raw_root, "v1.0-mini", out=out)
    before = contents(out)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_database", full)
        with pytest.raises(OSError, match="No space"):
            prepare_nuscenes(raw_root, "v1.0-mini", out=out, max_sweeps=3)
    assert contents(out) == before
    moves, move = [], os.replace

    def third_fails(source, target):
        moves.append(target)
        if len(moves) == 7:
            full()
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(staging.os, "replace", third_fails)
        with pytest.raises(OSError, match="No space"):
            prepare_nuscenes(raw_root, "v1.0-mini", out=out, max_sweeps=3)
    assert contents(out) == before
    prepare_nuscenes(raw_root, "v1.0-mini", out=out, max_sweeps=3)
    assert list(contents(out)) == list(before)
    assert contents(out) != before


def test_what_a_killed_run_left_is_removed_and_what_another_fills_is_not(raw_root, tmp_path):
    out = tmp_path / "out"
    killed, alive = out / ".nuscenes.1.part", out / ".nuscenes.2.part"
    for folder in (killed, alive):
        folder.mkdir(parents=True)
        (folder / "half.bin").write_bytes(b"half")
        (out / f"{folder.name}.lock").write_text("process 1")
    with lock(out / ".nuscenes.2.part.lock", "a test fills it"):
        prepare_nuscenes(raw_root, "v1.0-mini", out=out)
        assert not killed.exists()
        assert not (out / f"{killed.name}.lock").exists()
        assert (alive / "half.bin").exists()


def test_a_second_run_is_refused(raw_root, tmp_path):
    out = tmp_path / "out"
    with (
        lock(out / ".nuscenes.lock", "not said"),
        pytest.raises(LockedError, match=f"another create_data is at work in {out} .process "),
    ):
        prepare_nuscenes(raw_root, "v1.0-mini", out=out)
    assert list(out.iterdir()) == []


@pytest.fixture
def create_data(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    from create_data import main

    return lambda *arguments: main(["nuscenes", *map(str, arguments)])


def test_command_line(raw_root, create_data, capsys):
    with pytest.raises(SystemExit, match="^error: expected the tables of v1.0-trainval") as stop:
        create_data("--root-path", raw_root)
    assert "\n" not in stop.value.code
    arguments = ("--root-path", raw_root, "--version", "v1.0-mini")
    create_data(*arguments)
    assert outputs(raw_root) == [
        "nuscenes_dbinfos_train.pkl",
        "nuscenes_gt_database",
        "nuscenes_infos_train.pkl",
        "nuscenes_infos_val.pkl",
    ]
    assert "ground-truth database" in capsys.readouterr().out
