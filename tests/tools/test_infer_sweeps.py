"""tools/infer.py on several sweeps: poses, and recordings."""

import numpy as np
import pytest
from infer_stub import COUNT, boxes, cloud, poses_csv


def test_sweeps_of_frames_and_poses(tmp_path, infer, stub):
    """A sensor that drives 1 m forward a frame sees one wall."""
    folder = tmp_path / "in"
    rows = []
    for i in range(4):
        wall = np.array([[x, 30.0 - i, 0.5] for x in np.linspace(-10, 10, 41)])
        cloud(folder / f"f{i}.bin", wall)
        rows.append((100 + 0.05 * i, 0, i, 0, 1, 0, 0, 0, f"t{i}"))
    infer(folder, "--poses", poses_csv(tmp_path / "p.csv", rows), "--sweeps", 3)
    last = stub.clouds[-1]
    assert len(last) == 3 * 41
    np.testing.assert_allclose(last[:, 1], 27, atol=1e-5)
    np.testing.assert_allclose(np.unique(last[:, 4]), [0, 0.05, 0.1], atol=1e-6)
    assert [len(c) for c in stub.clouds] == [3 * 41] * 4


def test_poses_by_file_and_by_stamp(tmp_path, infer, stub):
    folder = tmp_path / "in"
    for stamp in (1532402927000000, 1532402927050000):
        cloud(folder / f"LIDAR__{stamp}.pcd.bin")
    path = tmp_path / "p.csv"
    head = "stamp,x,y,z,qw,qx,qy,qz"
    path.write_text(
        f"file,{head}\nLIDAR__1532402927050000.pcd.bin,5,0,0,0,1,0,0,0\n"
        "LIDAR__1532402927000000.pcd.bin,7,0,2,0,1,0,0,0\n"
    )
    infer(folder, "--poses", path, "--sweeps", 2, "--columns", 4)
    assert stub.clouds[-1][:, 4].max() == pytest.approx(2)
    rows = "".join(f"{1532402926.9 + t},0,{t * 10},0,1,0,0,0\n" for t in np.arange(0, 0.3, 0.1))
    path.write_text(f"{head}\n{rows}")
    infer(folder, "--poses", path, "--sweeps", 2, "--columns", 4)
    np.testing.assert_allclose(np.unique(stub.clouds[-1][:, 4]), [0, 0.05], atol=1e-5)
    moved = stub.clouds[-1][COUNT:, 1] - stub.clouds[-1][:COUNT, 1]
    np.testing.assert_allclose(moved, -0.5, atol=1e-4)
    cloud(folder / "last.bin")
    path.write_text(f"{head}\n1,0,0,0,1,0,0,0\n")
    with pytest.raises(SystemExit, match="--poses: expected a column file, as many rows as frames"):
        infer(folder / "last.bin", folder / "LIDAR__1532402927000000.pcd.bin", "--poses", path)


@pytest.mark.parametrize("suffix", [".mcap", ".bag", ".db3"])
def test_recordings(tmp_path, infer, stub, suffix):
    pytest.importorskip("rosbags")
    from ros_recordings import Recorder

    recorder = Recorder(tmp_path, suffix)
    start = 1_532_402_927_000_000_000
    for i in range(3):
        now = start + i * 100_000_000
        recorder.transform(now, "odom", "lidar", [2.0 * i, 0.0, 0.0], [1, 0, 0, 0])
        wall = {"x": 20.0 - 2 * i, "y": 1.0, "z": 0.0, "reflectivity": 9.0, "t": 0.0}
        recorder.points(now, "lidar", {k: np.full(50, v, "f4") for k, v in wall.items()})
    out = tmp_path / "out"
    options = ("--topic", "/points", "--pose-topic", "/tf", "--axes", "kitti")
    infer(recorder.close(), *options, "--out", out)
    names = [f"drive_{start + i * 100_000_000}.json" for i in range(3)]
    assert sorted(p.name for p in out.iterdir()) == names
    np.testing.assert_allclose(stub.clouds[-1][:, 1], 16, atol=1e-5)
    np.testing.assert_allclose(np.unique(stub.clouds[-1][:, 4]), [0, 0.1, 0.2], atol=1e-6)
    np.testing.assert_allclose(boxes(out / names[2])[0]["center_m"], [16, 1, 0], atol=1e-4)


def test_a_recording_that_breaks_off(tmp_path, infer, capsys):
    pytest.importorskip("rosbags")
    from ros_recordings import Recorder

    recorder = Recorder(tmp_path, ".mcap")
    values = {k: np.ones(5, "f4") for k in ("x", "y", "z", "intensity")}
    recorder.points(10**18, "lidar", values)
    recorder.points(10**18 + 1, "lidar", values, point_step=200)
    with pytest.raises(SystemExit):
        infer(recorder.close(), "--out", tmp_path / "out")
    said = capsys.readouterr().err
    assert "drive.mcap: expected a PointCloud2 of 1 x 5 points of 200 bytes" in said
    assert "1 file, 1 failed; boxes: car 1" in said
