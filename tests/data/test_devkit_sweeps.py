"""Equal to the devkit's multi-sweep clouds on a turning ego, in training and in the runtime."""

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from tiny_nuscenes import START_US

from padre3d.data.datasets import NuScenesSweepsDataset
from padre3d.data.infos import transform_of
from padre3d.data.loading import LoadSweeps
from padre3d.io.sweeps import without_close_points
from padre3d.runtime.sweep_buffer import SweepBuffer

PREFIX = dict(pts="samples/LIDAR_TOP", sweeps="sweeps/LIDAR_TOP")
TOLERANCE_M = 1e-4


@pytest.fixture(scope="module")
def nusc(tiny_nuscenes):
    return NuScenes("v1.0-mini", str(tiny_nuscenes), verbose=False)


def devkit_cloud(nusc, sample):
    cloud, lags = LidarPointCloud.from_file_multisweep(
        nusc, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=10
    )
    return np.column_stack([cloud.points.T, lags.T])


def last_sample(nusc, scene):
    return nusc.get("sample", nusc.get("scene", scene["token"])["last_sample_token"])


def chain(nusc, sample):
    """sample_data of a scene up to the sample, oldest first."""
    data = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    found = [data]
    while data["prev"]:
        data = nusc.get("sample_data", data["prev"])
        found.append(data)
    return found[::-1]


def buffered(nusc, sample, calibrated):
    """The cloud of a buffer that saw the whole scene."""
    first = chain(nusc, sample)[0]
    lidar = transform_of(nusc.get("calibrated_sensor", first["calibrated_sensor_token"]))
    buffer = SweepBuffer(10, lidar_to_ego=lidar if calibrated else None)
    for data in chain(nusc, sample):
        ego = transform_of(nusc.get("ego_pose", data["ego_pose_token"]))
        points = np.fromfile(f"{nusc.dataroot}/{data['filename']}", np.float32).reshape(-1, 5)
        buffer.push(points, data["timestamp"] / 1e6, ego if calibrated else ego @ lidar)
    return buffer.cloud()


def as_devkit(cloud):
    """The devkit cuts the newest sweep's close points, too."""
    newest = cloud[:, 4] == 0
    return np.concatenate([without_close_points(cloud[newest], 1.0), cloud[~newest]])


@pytest.mark.parametrize("calibrated", [True, False])
def test_sweep_buffer(nusc, calibrated):
    for scene in nusc.scene:
        sample = last_sample(nusc, scene)
        expected = devkit_cloud(nusc, sample)
        got = as_devkit(buffered(nusc, sample, calibrated))
        assert expected.shape == got.shape
        assert len(np.unique(expected[:, 4])) == 10
        np.testing.assert_allclose(got[:, :4], expected[:, :4], rtol=0, atol=TOLERANCE_M)
        np.testing.assert_allclose(got[:, 4], expected[:, 4], atol=2e-6)


def test_load_sweeps_and_the_buffer_agree(nusc, tiny_nuscenes):
    dataset = NuScenesSweepsDataset(
        data_root=str(tiny_nuscenes), ann_file="nuscenes_infos_val.pkl", data_prefix=PREFIX
    )
    info = dataset.get_data_info(3)
    assert info["timestamp"] == pytest.approx(START_US / 1e6 + 1.5, abs=1e-5)
    loaded = LoadSweeps().transform(info)["points"].numpy()
    sample = nusc.get("sample", info["token"])
    np.testing.assert_allclose(buffered(nusc, sample, True), loaded, rtol=0, atol=TOLERANCE_M)
    np.testing.assert_allclose(
        as_devkit(loaded)[:, :4], devkit_cloud(nusc, sample)[:, :4], rtol=0, atol=TOLERANCE_M
    )
