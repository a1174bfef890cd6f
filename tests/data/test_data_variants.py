"""Data in the nuScenes schema that lack something, or hold what nobody can learn."""

import json
import shutil

import numpy as np
import pytest
from mmdet3d.datasets.transforms import LoadPointsFromMultiSweeps
from mmdet3d.structures.points import LiDARPoints
from mmengine.fileio import load
from nuscenes import NuScenes
from test_class_list import KEY, build, disturbed, evaluate

from padre3d.data.point_files import write_pickle
from padre3d.data.prepare import prepare_nuscenes
from padre3d.structures.classes import NUSCENES_CLASSES

VERSION = "v1.0-mini"


def change(root, table, edit):
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    edit(rows)
    path.write_text(json.dumps(rows))


def infos(root, split="train"):
    return load(root / f"nuscenes_infos_{split}.pkl")


def scored(root):
    dataset = build(root, NUSCENES_CLASSES)
    return evaluate(dataset, disturbed(dataset))


@pytest.mark.parametrize("names", [("train", "val"), ("my_train", "my_val")])
def test_splits_of_one_s_own_are_prepared_and_scored(raw_root, names):
    """The other way round than the official ones: scene-0103 trains."""
    content = {names[0]: ["scene-0103"], names[1]: ["scene-0061"], "all": []}
    (raw_root / VERSION / "splits.json").write_text(json.dumps(content))
    prepare_nuscenes(raw_root, VERSION)
    nusc = NuScenes(VERSION, str(raw_root), verbose=False)
    for split, scene in (("train", "scene-0103"), ("val", "scene-0061")):
        sample = nusc.get("sample", infos(raw_root, split)["data_list"][0]["token"])
        assert nusc.get("scene", sample["scene_token"])["name"] == scene
    scores = scored(raw_root)
    assert scores[f"{KEY}car_AP_dist_0.5"] == pytest.approx(1.0)
    assert scores[f"{KEY}mAP"] == pytest.approx(0.5)


def test_a_version_of_one_s_own_needs_splits(raw_root):
    (raw_root / VERSION).rename(raw_root / "v2.0-mine")
    with pytest.raises(ValueError, match=r"expected a version among .* or .*splits\.json, got"):
        prepare_nuscenes(raw_root, "v2.0-mine")
    path = raw_root / "v2.0-mine/splits.json"
    path.write_text('{"train": ["scene-0061"]}')
    with pytest.raises(ValueError, match=r"expected a list of scenes for val, got \['train'\]"):
        prepare_nuscenes(raw_root, "v2.0-mine")
    path.write_text('{"train": ["scene-0061"], "val": ["scene-0553"]}')
    scenes = {row["name"] for row in json.loads((path.parent / "scene.json").read_text())}
    path.write_text(json.dumps({"train": [min(scenes)], "val": [max(scenes)]}))
    prepare_nuscenes(raw_root, "v2.0-mine")
    assert scored(raw_root)[f"{KEY}car_AP_dist_0.5"] == pytest.approx(1.0)


def test_key_frames_alone(raw_root):
    shutil.rmtree(raw_root / "sweeps")
    with pytest.raises(FileNotFoundError, match="--max-sweeps 0 needs key frames only"):
        prepare_nuscenes(raw_root, VERSION)
    prepare_nuscenes(raw_root, VERSION, max_sweeps=0)
    frames = infos(raw_root)["data_list"]
    assert not any("lidar_sweeps" in info for info in frames)
    (car, *_) = load(raw_root / "nuscenes_dbinfos_train.pkl")["car"]
    assert car["num_points_in_sweeps"] == car["num_points_in_gt"]
    # Stock mmdet3d pads a frame without sweeps only where the key is missing.
    points = np.fromfile(next((raw_root / "samples/LIDAR_TOP").iterdir()), np.float32)
    step = LoadPointsFromMultiSweeps(sweeps_num=2, use_dim=[0, 1, 2, 4], pad_empty_sweeps=True)
    cloud = LiDARPoints(points.reshape(-1, 5), points_dim=5)
    padded = step.transform({**frames[0], "points": cloud})
    assert len(padded["points"]) == 3 * len(points) // 5


def test_without_maps_and_point_counts(raw_root):
    prepare_nuscenes(raw_root, VERSION)
    expected, usual = infos(raw_root, "val"), scored(raw_root)
    change(raw_root, "map", lambda rows: rows.clear())
    shutil.rmtree(raw_root / "maps")

    def forget(rows):
        for row in rows:
            del row["num_lidar_pts"], row["num_radar_pts"]

    change(raw_root, "sample_annotation", forget)
    prepare_nuscenes(raw_root, VERSION)
    frames = infos(raw_root, "val")["data_list"]
    for before, after in zip(expected["data_list"], frames, strict=True):
        for old, new in zip(before["instances"], after["instances"], strict=True):
            for key in ("num_lidar_pts", "bbox_3d", "bbox_3d_isvalid"):
                assert new[key] == old[key]
    assert scored(raw_root) == pytest.approx(usual, nan_ok=True)


@pytest.mark.parametrize("key", ["CLASSES", "classes"])
def test_older_info_files_list_their_classes(tiny_nuscenes, tmp_path, key):
    old = infos(tiny_nuscenes, "val")
    names = sorted(old["metainfo"].pop("categories").items(), key=lambda item: item[1])
    old["metainfo"][key] = [name for name, _ in names]
    write_pickle(tmp_path / "nuscenes_infos_val.pkl", old)
    labels = [
        build(root, NUSCENES_CLASSES).get_data_info(0)["eval_ann_info"]["gt_labels_3d"].tolist()
        for root in (tiny_nuscenes, tmp_path)
    ]
    assert labels[0] == labels[1] == [0, 1, 8, 9, 7, -1]
    del old["metainfo"][key]
    write_pickle(tmp_path / "nuscenes_infos_val.pkl", old)
    with pytest.raises(ValueError, match="expected 'categories' or 'classes' in metainfo"):
        build(tmp_path, NUSCENES_CLASSES)


BAD = {
    "size zero": (lambda row: row.update(size=[1.9, 0.0, 1.7]), "length 0, width 1.9"),
    "size negative": (lambda row: row.update(size=[1.9, 4.6, -1.7]), "height -1.7"),
    "NaN": (lambda row: row.update(translation=[float("nan"), 0, 0]), "a number is not finite"),
    "rotation": (lambda row: row.update(rotation=[2.0, 0, 0, 0]), "has length 2, not 1"),
}


@pytest.mark.parametrize(("edit", "fault"), BAD.values(), ids=BAD)
def test_annotations_that_are_no_boxes_are_dropped_by_token(raw_root, capsys, edit, fault):
    path = raw_root / VERSION / "sample_annotation.json"
    (row, *_) = json.loads(path.read_text())
    change(raw_root, "sample_annotation", lambda rows: edit(rows[0]))
    prepare_nuscenes(raw_root, VERSION)
    printed = capsys.readouterr().out
    assert f"dropped: annotation {row['token']}: " in printed
    assert fault in printed
    counts = [
        len(info["instances"])
        for split in ("train", "val")
        for info in infos(raw_root, split)["data_list"]
        if info["token"] == row["sample_token"]
    ]
    assert counts == [5]
    scored(raw_root)


def test_tables_of_which_everything_would_be_wrong_are_refused(raw_root):
    def twist(rows):
        rows[3]["rotation"] = [0.5, 0, 0, 0]

    original = (raw_root / VERSION / "ego_pose.json").read_text()
    change(raw_root, "ego_pose", twist)
    token = json.loads(original)[3]["token"]
    with pytest.raises(ValueError, match=f"ego_pose {token}: expected a quaternion of length 1"):
        prepare_nuscenes(raw_root, VERSION)
    (raw_root / VERSION / "ego_pose.json").write_text(original)
    change(raw_root, "sample", lambda rows: rows.append(rows[0]))
    with pytest.raises(
        ValueError, match=r"sample\.json: expected every token once, got \w+ 2 times"
    ):
        prepare_nuscenes(raw_root, VERSION)


def test_boxes_of_foreign_info_files_are_dropped_by_token(tiny_nuscenes, tmp_path):
    foreign = infos(tiny_nuscenes, "val")
    foreign["data_list"][1]["instances"][0]["bbox_3d"][3] = 0.0
    write_pickle(tmp_path / "nuscenes_infos_val.pkl", foreign)
    with pytest.warns(UserWarning, match=foreign["data_list"][1]["token"]):
        dataset = build(tmp_path, NUSCENES_CLASSES)
    assert dataset.get_data_info(1)["eval_ann_info"]["gt_labels_3d"].tolist() == [1, 8, 9, 7, -1]
