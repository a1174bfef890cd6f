"""ROS recordings of every format, written by the test with the package that reads them."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rosbags")
from ros_recordings import Recorder  # noqa: E402

from padre3d.io.pointcloud2 import DATATYPES, pointcloud2_fields  # noqa: E402
from padre3d.io.recordings import is_recording, read_recording  # noqa: E402

START_NS = 1_532_402_927_647_951_000
STEP_NS = 50_000_000
FORMATS = (".mcap", ".db3", ".bag")
QUARTER = [np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)]


def fields(seed=0, count=12):
    rng = np.random.default_rng(seed)
    values = {axis: rng.normal(0, 20, count).astype("f4") for axis in "xyz"}
    values["intensity"] = rng.integers(0, 256, count).astype("f4")
    values["ring"] = np.arange(count).astype("u2")
    values["t"] = np.linspace(0, 1e8, count).astype("u4")
    return values


def drive(folder, suffix, frames=3):
    """A turning base with a sensor 1 m ahead of it; odometry says the same as tf."""
    recorder = Recorder(folder, suffix)
    ahead = ([1.0, 0.0, 1.8], [1, 0, 0, 0])
    recorder.transform(START_NS, "base", "lidar", *ahead, topic="/tf_static")
    for i in range(frames):
        now = START_NS + i * STEP_NS
        angle = 0.2 * i
        pose = ([2.0 * i, 100.0, 0.0], [np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
        recorder.transform(now, "odom", "base", *pose)
        recorder.odometry(now, "odom", "base", *pose)
        recorder.points(now, "lidar", fields(i))
    recorder.transform(START_NS, "map", "odom", [500.0, 0, 0], [1, 0, 0, 0], topic="/tf_static")
    return recorder.close()


@pytest.mark.parametrize("suffix", FORMATS)
def test_clouds(tmp_path, suffix):
    path = drive(tmp_path, suffix)
    assert is_recording(path)
    clouds = list(read_recording(path, "/points"))
    assert [c.stamp_ns for c in clouds] == [START_NS + i * STEP_NS for i in range(3)]
    for i, cloud in enumerate(clouds):
        assert cloud.frame == "lidar"
        assert cloud.pose is None
        for name, values in fields(i).items():
            np.testing.assert_array_equal(cloud.fields[name], values)
            assert cloud.fields[name].dtype == values.dtype


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("pose_topic", ["/tf", "/odom"])
def test_poses(tmp_path, suffix, pose_topic):
    path = drive(tmp_path, suffix)
    clouds = list(read_recording(path, "/points", pose_topic=pose_topic))
    assert len(clouds) == 3
    for i, cloud in enumerate(clouds):
        turn = 0.2 * i
        ahead = [2.0 * i + np.cos(turn), 100 + np.sin(turn), 1.8]
        np.testing.assert_allclose(cloud.pose[:3, 3], ahead, atol=1e-9)
        np.testing.assert_allclose(cloud.pose[:2, 0], [np.cos(turn), np.sin(turn)], atol=1e-9)


def test_the_folder_of_ros2_and_the_only_topic(tmp_path):
    path = drive(tmp_path, ".mcap")
    assert is_recording(path.parent)
    assert len(list(read_recording(path.parent))) == 3


def test_fixed_frame(tmp_path):
    path = drive(tmp_path, ".mcap")
    (cloud, *_) = read_recording(path, pose_topic="/tf", fixed_frame="map")
    np.testing.assert_allclose(cloud.pose[:3, 3], [501, 100, 1.8])
    for cloud in read_recording(path, pose_topic="/tf", fixed_frame="world"):
        assert cloud.fault.startswith("expected transforms from world to lidar, got lidar <- ")
        assert cloud.pose is None


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("datatype", range(1, 9))
def test_fields_of_every_type(datatype, big):
    """Two rows of three points with a gap after every row."""
    dtype = np.dtype((">" if big else "<") + DATATYPES[datatype - 1])
    values = np.array([[1, 2, 3], [4, 5, 100]])
    rows = np.zeros((2, 40), np.uint8)
    for row in range(2):
        for column in range(3):
            at = column * 12 + 3
            rows[row, at : at + dtype.itemsize] = np.frombuffer(
                np.array(values[row, column], dtype).tobytes(), np.uint8
            )
    message = SimpleNamespace(
        height=2,
        width=3,
        point_step=12,
        row_step=40,
        is_bigendian=big,
        data=rows.reshape(-1),
        fields=[
            SimpleNamespace(name="v", offset=3, datatype=datatype, count=1),
            SimpleNamespace(name="many", offset=0, datatype=1, count=3),
        ],
    )
    found = pointcloud2_fields(message)
    assert list(found) == ["v"]
    np.testing.assert_array_equal(found["v"], values.reshape(-1))
    for change in ({"row_step": 35}, {"width": 4}, {"height": 3}):
        with pytest.raises(ValueError, match="expected a PointCloud2 of"):
            pointcloud2_fields(SimpleNamespace(**{**vars(message), **change}))
    message.fields[0].offset = 12
    with pytest.raises(ValueError, match="field v: expected an offset within 12 bytes a point, go"):
        pointcloud2_fields(message)
    message.fields[0].datatype = 9
    with pytest.raises(ValueError, match="field v: expected a datatype 1 to 8, got 9"):
        pointcloud2_fields(message)


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_cloud(tmp_path, suffix):
    recorder = Recorder(tmp_path, suffix)
    recorder.points(START_NS, "lidar", fields(count=0))
    (cloud,) = read_recording(recorder.close())
    assert cloud.fields["x"].shape == (0,)


def test_topics_that_are_none(tmp_path):
    path = drive(tmp_path, ".mcap")
    with pytest.raises(
        ValueError, match=r"drive\.mcap: topic /lidar: .* of PointCloud2; there are /points$"
    ):
        list(read_recording(path, "/lidar"))
    with pytest.raises(ValueError, match="topic /points: expected a topic of TFMessage or Odo"):
        list(read_recording(path, pose_topic="/points"))


def test_poses_that_are_not_known(tmp_path):
    recorder = Recorder(tmp_path, ".bag")
    recorder.transform(START_NS, "odom", "base", [0, 0, 0], QUARTER)
    recorder.points(START_NS + 1 * 10**7, "base", fields(), point_step=200)
    recorder.points(START_NS + 2 * 10**7, "other", fields())
    recorder.points(START_NS + 3 * 10**7, "base", fields())
    recorder.points(START_NS + 5 * 10**9, "base", fields())
    damaged, other, good, late = read_recording(recorder.close(), pose_topic="/tf")
    assert late.fault.startswith("transform odom <- base: expected a time within 0.1 s of the")
    assert other.fault == "expected transforms of the clouds' frame other, got none"
    assert damaged.fault.startswith("expected a PointCloud2 of 1 x 12 points of 200 bytes")
    assert [cloud.pose is None for cloud in (late, other, damaged)] == [True] * 3
    assert not good.fault
    np.testing.assert_allclose(good.pose[:2, :2], [[0, -1], [1, 0]], atol=1e-9)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "missing"])
def test_damaged_recordings(tmp_path, suffix, damage):
    path = drive(tmp_path, suffix)
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        noise = np.random.default_rng(0).bytes(len(content))
        made = {"empty": b"", "cut": content[: len(content) // 3], "noise": noise}
        path.write_bytes(made[damage])
    with pytest.raises(ValueError, match=rf"drive{suffix}: "):
        list(read_recording(path, "/points", pose_topic="/tf"))
