import numpy as np
import pytest
from mmengine.fileio import load
from tiny_nuscenes import OBJECTS

from padre3d.data.boxes import points_in_boxes
from padre3d.data.gt_database import write_database
from padre3d.data.infos import INFO_CLASSES
from padre3d.data.point_files import read_points


@pytest.fixture(scope="module")
def database(tiny_nuscenes):
    return load(tiny_nuscenes / "nuscenes_dbinfos_train.pkl")


def test_entries_hold_the_box_with_bottom_z_and_velocity(tiny_nuscenes, database):
    info = load(tiny_nuscenes / "nuscenes_infos_train.pkl")["data_list"][2]
    entry = next(e for e in database["car"] if e["image_idx"] == 2)
    instance = info["instances"][0]
    box = np.array([*instance["bbox_3d"], *instance["velocity"]])
    box[2] -= 1.7 / 2
    np.testing.assert_allclose(entry["box3d_lidar"], box, atol=1e-5)
    assert np.hypot(*entry["box3d_lidar"][7:]) == pytest.approx(5.0, abs=1e-3)


def test_classes_without_a_label_are_left_out(database):
    counts = {name: len(entries) for name, entries in database.items()}
    assert counts == {"car": 4, "truck": 4, "pedestrian": 4, "traffic_cone": 4, "bicycle": 4}
    groups = [e["group_id"] for entries in database.values() for e in entries]
    assert sorted(groups) == list(range(20))


def test_points_come_from_all_sweeps_with_their_time_lag(tiny_nuscenes, database):
    truck = next(e for e in database["truck"] if e["image_idx"] == 3)
    points = read_points(tiny_nuscenes / truck["path"])
    # The truck stands still, so all of its points of ten sweeps fall into the box.
    assert len(points) == truck["num_points_in_sweeps"] == 600
    assert truck["num_points_in_gt"] == 60
    lags, counts = np.unique(points[:, 4].round(3), return_counts=True)
    np.testing.assert_allclose(lags, np.arange(10) * 0.05, atol=1e-3)
    assert (counts == 60).all()
    assert (points[:, 3] == 2).all()
    at_origin = np.array([0, 0, 0, *truck["box3d_lidar"][3:7]])
    assert len(points_in_boxes(points, at_origin[None])[0]) == len(points)


def test_moving_objects_lose_the_points_that_lag_behind_the_box(database):
    # At 5 m/s the car is a box length behind after 0.92 s, so some of 0.45 s is lost, not all.
    car = next(e for e in database["car"] if e["image_idx"] == 3)
    assert 40 < car["num_points_in_sweeps"] < 400
    assert car["num_points_in_gt"] == OBJECTS[0][5]


def test_more_processes_write_the_same(tiny_nuscenes, tmp_path, database):
    infos = load(tiny_nuscenes / "nuscenes_infos_train.pkl")["data_list"]
    calls = []
    counts = write_database(
        infos,
        tiny_nuscenes,
        tmp_path,
        tag="nuscenes",
        classes=INFO_CLASSES,
        workers=2,
        on_frame=lambda: calls.append(1),
    )
    assert counts["car"] == 4
    assert len(calls) == 4
    again = load(tmp_path / "nuscenes_dbinfos_train.pkl")
    for name, entries in database.items():
        for old, new in zip(entries, again[name], strict=True):
            assert old["path"] == new["path"]
            before, after = tiny_nuscenes / old["path"], tmp_path / new["path"]
            assert after.read_bytes() == before.read_bytes()


def test_a_failure_leaves_the_old_database(tiny_nuscenes, tmp_path):
    infos = load(tiny_nuscenes / "nuscenes_infos_train.pkl")["data_list"]
    kwargs = dict(tag="nuscenes", classes=INFO_CLASSES)
    write_database(infos[:1], tiny_nuscenes, tmp_path, **kwargs)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    broken = [infos[0], dict(infos[1], lidar_points={"lidar_path": "gone.bin"})]
    with pytest.raises(FileNotFoundError, match=r"gone\.bin"):
        write_database(broken, tiny_nuscenes, tmp_path, **kwargs)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_new_database_replaces_the_old_one(tiny_nuscenes, tmp_path):
    infos = load(tiny_nuscenes / "nuscenes_infos_train.pkl")["data_list"]
    for frames in (infos[:3], infos[3:]):
        write_database(frames, tiny_nuscenes, tmp_path, tag="x", classes=INFO_CLASSES)
    files = {p.name for p in (tmp_path / "x_gt_database").iterdir()}
    entries = [e for v in load(tmp_path / "x_dbinfos_train.pkl").values() for e in v]
    assert files == {e["path"].split("/")[1] for e in entries}
    assert len(files) == 5
