import numpy as np
import pytest
import torch
from mmdet3d.datasets.transforms import LoadPointsFromDict, LoadPointsFromFile
from mmdet3d.structures.points import DepthPoints, LiDARPoints
from mmengine.fileio import load
from tiny_nuscenes import OBJECTS, SCENES, START_US, lidar_to_global, object_centre

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.loading import LoadSweeps
from padre3d.data.sweeps import (
    Sweep,
    load_cloud,
    rigid_inverse,
    sweeps_of_info,
    without_close_points,
)

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")


@pytest.fixture(scope="module")
def dataset(tiny_nuscenes):
    return NuScenesSweepsDataset(
        data_root=str(tiny_nuscenes), ann_file="nuscenes_infos_val.pkl", data_prefix=PREFIX
    )


def write(path, rows):
    np.array(rows, np.float32).tofile(path)
    return str(path)


@pytest.fixture
def key(tmp_path):
    return write(tmp_path / "key.bin", [[5, 0, 1, 200, 31], [0.5, 0.5, -1, 3, 7]])


def turned_sweep(tmp_path, number, lag):
    """A sweep whose sensor stood at (0, -lag) and looked 90 degrees to the left."""
    pose = np.array([[0, -1, 0, 0], [1, 0, 0, -lag], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    path = write(
        tmp_path / f"{number}.bin",
        [[10, number, 2, 100, 5], [0.9, -0.9, 0, 1, 1], [0.9, 2, 0, 4, 1]],
    )
    return Sweep(path, pose, lag)


def test_cloud_by_hand(tmp_path, key):
    sweeps = [turned_sweep(tmp_path, i, 0.5 * i) for i in (1, 2, 3)]
    cloud = load_cloud(key, sweeps, num_sweeps=3)
    # The key frame keeps all points, the sweeps lose the point inside the 1 m square.
    expected = [
        [5, 0, 1, 200, 0],
        [0.5, 0.5, -1, 3, 0],
        [-1, 10 - 0.5, 2, 100, 0.5],
        [-2, 0.9 - 0.5, 0, 4, 0.5],
        [-2, 10 - 1, 2, 100, 1.0],
        [-2, 0.9 - 1, 0, 4, 1.0],
    ]
    assert cloud.dtype == np.float32
    np.testing.assert_allclose(cloud, expected, atol=1e-6)


def test_missing_sweeps_repeat_the_oldest(tmp_path, key):
    sweeps = [turned_sweep(tmp_path, i, 0.5 * i) for i in (1, 2)]
    cloud = load_cloud(key, sweeps, num_sweeps=5)
    np.testing.assert_allclose(cloud[:, 4], [0] * 2 + [0.5] * 2 + [1.0] * 6)
    np.testing.assert_array_equal(cloud[4:6], cloud[8:10])
    assert len(load_cloud(key, sweeps, num_sweeps=5, pad=False)) == 6


def test_frame_without_past_repeats_itself_without_close_points(key):
    cloud = load_cloud(key, [], num_sweeps=4)
    expected = [[5, 0, 1, 200, 0], [0.5, 0.5, -1, 3, 0]] + [[5, 0, 1, 200, 0]] * 3
    np.testing.assert_allclose(cloud, expected)


def test_close_square_is_open_and_needs_both_axes():
    points = np.array([[0.99, 0.99], [1.0, 0.0], [0.0, -1.0], [-0.5, 3.0], [-0.9, -0.9]])
    np.testing.assert_array_equal(without_close_points(points, 1.0), points[[1, 2, 3]])


def test_rigid_inverse():
    pose = lidar_to_global(1.3)
    np.testing.assert_allclose(rigid_inverse(pose), np.linalg.inv(pose), atol=1e-9)


def test_two_loads_of_a_frame_are_the_same(dataset):
    first, second = (LoadSweeps().transform(dataset.get_data_info(3)) for _ in range(2))
    np.testing.assert_array_equal(first["points"].numpy(), second["points"].numpy())


def test_sweeps_of_a_turning_ego_fall_onto_the_objects(dataset):
    """Every point of an object, moved on by velocity x time lag, lies where its sensor saw it."""
    info = dataset.get_data_info(3)
    points = LoadSweeps().transform(info)["points"].numpy()
    seconds = info["timestamp"] - START_US / 1e6
    assert seconds == pytest.approx(1.5, abs=1e-5)
    np.testing.assert_allclose(np.unique(points[:, 4]), np.arange(10) * 0.05, atol=1e-5)
    global_from_lidar = lidar_to_global(seconds)
    for index, (_, _, (width, length, height), yaw, speed, count) in enumerate(OBJECTS):
        own = points[points[:, 3] == index + 1]
        assert len(own) == 10 * count
        world = own[:, :3] @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
        centre = object_centre(index, seconds)
        direction = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        local = world + speed * own[:, 4:5] * direction - centre
        along = local @ direction
        across = local @ [-np.sin(yaw), np.cos(yaw), 0.0]
        assert np.abs(along).max() <= length / 2
        assert np.abs(across).max() <= width / 2
        assert np.abs(local[:, 2]).max() <= height / 2


def test_the_first_frame_is_padded_to_ten_sweeps(dataset):
    info = dataset.get_data_info(0)
    assert "lidar_sweeps" not in info
    points = LoadSweeps().transform(info)["points"].numpy()
    own = np.fromfile(info["lidar_path"], np.float32).reshape(-1, 5)
    # Two returns of the ego vehicle are in the key frame only.
    assert len(points) == len(own) + 9 * (len(own) - 2)


def test_info_of_other_columns_is_an_error(dataset):
    info = dataset.get_data_info(0)
    info["lidar_points"]["num_pts_feats"] = 4
    with pytest.raises(ValueError, match="expected 5 columns, the info declares 4"):
        LoadSweeps().transform(info)


@pytest.mark.parametrize(
    ("kwargs", "match"), [({"load_dim": 4}, "load_dim"), ({"num_sweeps": 0}, "num")]
)
def test_bad_settings_are_errors(kwargs, match):
    with pytest.raises(ValueError, match=match):
        LoadSweeps(**kwargs)


def test_info_lists_ten_past_sweeps_nearest_first(tiny_nuscenes):
    infos = load(tiny_nuscenes / "nuscenes_infos_val.pkl")["data_list"]
    assert [len(i.get("lidar_sweeps", [])) for i in infos] == [0, 10, 10, 10, 10]
    stamps = [s["timestamp"] for s in infos[2]["lidar_sweeps"]]
    np.testing.assert_allclose(
        infos[2]["timestamp"] - np.array(stamps), 0.05 * np.arange(1, 11), atol=1e-5
    )
    # The tenth past sweep is the key frame before; it lies in samples/.
    folders = [s["lidar_points"]["lidar_path"].split("/")[0] for s in infos[2]["lidar_sweeps"]]
    assert folders == ["sweeps"] * 9 + ["samples"]
    assert all(
        SCENES["mini_val"] in s["lidar_points"]["lidar_path"] for s in infos[2]["lidar_sweeps"]
    )


def test_stride_reaches_as_far_back_with_fewer_sweeps(dataset):
    info = dataset.get_data_info(3)
    points = LoadSweeps(num_sweeps=4, stride=3).transform(info)["points"].numpy()
    np.testing.assert_allclose(np.unique(points[:, 4]), [0, 0.15, 0.3, 0.45], atol=1e-5)
    with pytest.raises(ValueError, match="stride >= 1, got 0"):
        LoadSweeps(stride=0)


STOCK = dict(coord_type="LIDAR", load_dim=5, use_dim=5)


def extended(info):
    """The points of mmdet3d's loader, extended."""
    return LoadSweeps().transform(LoadPointsFromFile(**STOCK).transform(info))["points"].tensor


@pytest.mark.parametrize("frame", range(4))
def test_a_loaded_cloud_is_extended_to_the_same_points(dataset, frame):
    info = dataset.get_data_info(frame)
    expected = load_cloud(info["lidar_points"]["lidar_path"], sweeps_of_info(info))
    assert len(np.unique(expected[:, 4])) == (10 if frame else 1)
    got = [extended(dataset.get_data_info(frame))]
    got.append(LoadSweeps().transform(dataset.get_data_info(frame))["points"].tensor)
    # Info files of before this rule list no sweeps.
    got.append(extended({"lidar_sweeps": [], **dataset.get_data_info(frame)}))
    for points in got:
        np.testing.assert_array_equal(points.numpy(), expected)


RINGS = np.array([[1, 2, 3, 200, 0], [5, 0, 1, 7, 31], [0.5, 0.5, -1, 3, 7]], np.float32)
LAGS = np.array([[1, 2, 3, 200, 0], [5, 0, 1, 7, 0.05], [0.5, 0.5, -1, 3, 0.45]], np.float32)


@pytest.mark.parametrize(
    ("cloud", "time_lag", "lags"),
    [
        (RINGS, None, [0, 0, 0]),
        (RINGS, False, [0, 0, 0]),
        (LAGS, None, [0, 0.05, 0.45]),
        (LAGS, True, [0, 0.05, 0.45]),
        (LAGS, False, [0, 0, 0]),
        (RINGS % [99, 99, 99, 999, 2], True, [0, 1, 1]),
    ],
    ids=["rings", "told rings", "lags", "told lags", "told no lags", "told whole lags"],
)
@pytest.mark.parametrize("loader", ["file", "array", "none"])
def test_a_cloud_without_a_frame_stays_and_has_lags(tmp_path, loader, cloud, time_lag, lags):
    cloud = cloud.astype(np.float32)
    results = dict(lidar_points=dict(lidar_path=write(tmp_path / "a.bin", cloud)), timestamp=1)
    if loader == "file":
        results = LoadPointsFromFile(**STOCK).transform(results)
    elif loader == "array":
        results = LoadPointsFromDict(**STOCK).transform(dict(points=cloud, timestamp=1))
    before = cloud.copy()
    points = LoadSweeps(time_lag=time_lag).transform(results)["points"].tensor.numpy()
    np.testing.assert_array_equal(points, np.column_stack([before[:, :4], np.float32(lags)]))
    np.testing.assert_array_equal(cloud, before)


def test_lags_that_are_no_seconds_are_an_error():
    points = LiDARPoints(torch.from_numpy(LAGS * 1000), points_dim=5)
    message = r"points: expected column 5 .* between -1 and 10 s, got 0 to 450"
    with pytest.raises(ValueError, match=message):
        LoadSweeps(time_lag=True).transform(dict(points=points))


def test_loaded_points_of_another_kind_are_an_error(dataset):
    four = LoadPointsFromFile(coord_type="LIDAR", load_dim=5, use_dim=4)
    message = r"expected LiDARPoints of 5 columns, got LiDARPoints of shape \(\d+, 4\)"
    with pytest.raises(ValueError, match=message):
        LoadSweeps().transform(four.transform(dataset.get_data_info(0)))
    depth = dict(points=DepthPoints(torch.from_numpy(LAGS), points_dim=5))
    with pytest.raises(ValueError, match="expected LiDARPoints of 5 columns, got DepthPoints"):
        LoadSweeps().transform(depth)


def test_a_loaded_frame_with_nan_names_its_file(dataset):
    info = LoadPointsFromFile(**STOCK).transform(dataset.get_data_info(1))
    info["points"].tensor[3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"\.bin: expected finite values, .* in 1 of"):
        LoadSweeps().transform(info)
