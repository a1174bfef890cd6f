import json

import pytest
from mmengine.fileio import load

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.nuscenes_tables import TABLES
from padre3d.data.prepare import prepare_nuscenes


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
    fails(raw_root, ValueError, r"mini_val of v1.0-mini is empty.*scene-0103.*found \['scene-0061'")


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
    assert [len(i["lidar_sweeps"]) for i in infos] == [0, 3, 3, 3, 3]


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
