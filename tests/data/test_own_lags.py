"""Clouds of one's own that hold several sweeps: a training sees the lags that a detection sees."""

import numpy as np
import pytest
from mmengine.fileio import load

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.folder import folder_frames
from padre3d.data.loading import LoadSweeps
from padre3d.data.prepare_frames import prepare_frames
from padre3d.io import ReadOptions, read_cloud
from padre3d.io.frames import InputFrame

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
LAGS = [0.0, 0.1, 0.2]


def write_folder(root, posed=False):
    rng = np.random.default_rng(0)
    rows, poses = ["frame,name,x,y,z,l,w,h,yaw"], ["file,stamp,x,y,z,qw,qx,qy,qz"]
    for recording in "ab":
        for i in range(3):
            name = f"{recording}/{i}"
            path = root / f"clouds/{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            xyz = rng.uniform(-1, 1, (300, 3)) * (2, 1, 0.8) + (8, 3, 0)
            table = np.column_stack([xyz, np.full(300, 9.0), np.repeat(LAGS, 100)])
            np.save(path, table.astype(np.float32))
            rows.append(f"{name},car,8,3,0,4.2,2.2,1.8,0")
            poses.append(f"{name},{i}.5,0,{i},0,1,0,0,0")
    (root / "labels.csv").write_text("\n".join(rows))
    if posed:
        (root / "poses.csv").write_text("\n".join(poses))
    return root


def prepare(root, time_lag=None, **settings):
    options = {".npy": ReadOptions(time_lag=time_lag)}
    frames = folder_frames(root)
    return prepare_frames(frames, root, out=root, axes=InputFrame(), options=options, **settings)


def seen(root, num_sweeps):
    """Lags of the first training frame, and of the first object in the database."""
    dataset = NuScenesSweepsDataset(
        str(root),
        "nuscenes_infos_train.pkl",
        data_prefix=PREFIX,
        metainfo=dict(classes=("car",)),
    )
    points = LoadSweeps(num_sweeps=num_sweeps).transform(dataset.get_data_info(0))["points"]
    entry = load(root / "nuscenes_dbinfos_train.pkl")["car"][0]
    pasted = np.fromfile(root / entry["path"], np.float32).reshape(-1, 5)
    return [np.unique(values[:, 4]).tolist() for values in (points.numpy(), pasted)]


def test_the_lags_of_a_single_cloud_stay(tmp_path):
    made = prepare(write_folder(tmp_path))
    assert made.num_sweeps == 1
    (path, *_) = (tmp_path / "clouds/a").iterdir()
    detected = np.unique(read_cloud(path, ReadOptions()).points[:, 4]).tolist()
    assert detected == pytest.approx(LAGS)
    for lags in seen(tmp_path, 1):
        assert lags == detected
    said = "clouds: column 5 kept as time lags in s (--no-time-lag: none) (6 times)"
    assert said in made.notes


@pytest.mark.parametrize(
    ("posed", "settings", "num_sweeps"),
    [
        (False, dict(time_lag=False), 1),
        (True, dict(), 3),
        (True, dict(max_sweeps=2), 2),
    ],
)
def test_no_lags_where_they_are_none_or_sweeps_are_joined(tmp_path, posed, settings, num_sweeps):
    made = prepare(write_folder(tmp_path, posed), **settings)
    assert made.num_sweeps == num_sweeps
    assert not [note for note in made.notes if "time lags" in note]
    assert seen(tmp_path, num_sweeps) == [[0], [0]]


@pytest.mark.parametrize("max_sweeps", [0, 1])
def test_a_frame_alone_with_poses_is_a_single_cloud(tmp_path, max_sweeps):
    assert prepare(write_folder(tmp_path, True), max_sweeps=max_sweeps).num_sweeps == 1
    for lags in seen(tmp_path, 1):
        assert lags == pytest.approx(LAGS)
