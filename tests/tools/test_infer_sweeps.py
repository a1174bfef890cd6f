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
        "LIDAR__1532402927000000.pcd.bin,5.5,0,2,0,1,0,0,0\n"
    )
    infer(folder, "--poses", path, "--sweeps", 2, "--columns", 4)
    assert stub.clouds[-1][:, 4].max() == pytest.approx(0.5)
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


def test_a_damaged_message_fails_alone(tmp_path, infer, capsys):
    pytest.importorskip("rosbags")
    from ros_recordings import Recorder

    recorder = Recorder(tmp_path, ".mcap")
    values = {k: np.ones(5, "f4") for k in ("x", "y", "z", "intensity")}
    recorder.points(10**18, "lidar", values)
    recorder.points(10**18 + 1, "lidar", values, point_step=200)
    recorder.points(10**18 + 2, "lidar", values)
    with pytest.raises(SystemExit):
        infer(recorder.close(), "--out", tmp_path / "out")
    said = capsys.readouterr().err
    name = f"drive_{10**18 + 1}"
    assert f"error: {name}: expected a PointCloud2 of 1 x 5 points of 200 bytes" in said
    assert "3 files, 1 failed; boxes: car 2" in said


def test_a_recording_that_breaks_off(tmp_path, infer, capsys, monkeypatch):
    from padre3d.command import frames

    path, read = record(tmp_path, [100, 100.1], []), frames.read_recording

    def broken(*given, **options):
        yield next(read(*given, **options))
        raise ValueError("drive.mcap: expected more")

    monkeypatch.setattr(frames, "read_recording", broken)
    with pytest.raises(SystemExit):
        infer(path, "--out", tmp_path / "out")
    said = capsys.readouterr().err
    assert "error: drive.mcap: expected more" in said
    assert "1 file, 1 failed; boxes: car 1" in said


def drive(folder, recorder_stamps, name="f"):
    """Clouds of a standing sensor in a folder, and their rows of a table of poses."""
    for i in range(len(recorder_stamps)):
        cloud(folder / f"{name}{i}.bin")
    return [(stamp, 0, 0, 0, 1, 0, 0, 0, "") for stamp in recorder_stamps]


def lags(stub):
    return [sorted({round(float(lag), 2) for lag in c[:, 4]}) for c in stub.clouds]


def test_two_drives_in_one_table(tmp_path, infer, stub, capsys):
    """After a pause no sweep of the drive before is joined; single missing clouds do no harm."""
    stamps = [100, 100.05, 100.15, 590, 590.05]
    poses = poses_csv(tmp_path / "p.csv", drive(tmp_path / "in", stamps))
    infer(tmp_path / "in", "--poses", poses, "--sweeps", 3)
    assert lags(stub) == [[0], [0, 0.05], [0, 0.1, 0.15], [0], [0, 0.05]]
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "after the last" in line]
    assert said == "  489.850 s after the last cloud: no sweep older than 0.3 s is joined"


@pytest.mark.parametrize(("interval_s", "oldest_s"), [(0.05, 0.45), (0.1, 0.9)])
def test_the_usual_step_sets_what_is_too_old(tmp_path, infer, stub, interval_s, oldest_s):
    stamps = [100 + interval_s * i for i in range(12)]
    poses = poses_csv(tmp_path / "p.csv", drive(tmp_path / "in", stamps))
    infer(*sorted((tmp_path / "in").iterdir(), key=lambda p: int(p.stem[1:])), "--poses", poses)
    assert max(lags(stub)[-1]) == pytest.approx(oldest_s)


def test_a_greatest_lag_of_one_s_own(tmp_path, infer, stub):
    poses = poses_csv(tmp_path / "p.csv", drive(tmp_path / "in", [100, 102, 105]))
    infer(tmp_path / "in", "--poses", poses, "--sweeps", 3, "--max-lag", 5)
    assert lags(stub)[-1] == [0, 3, 5]
    infer(tmp_path / "in", "--poses", poses, "--sweeps", 3, "--max-lag", 4)
    assert lags(stub)[-1] == [0, 3]
    for given, match in (
        (("--max-lag", 1), "--max-lag: expected --poses"),
        (("--poses", poses, "--max-lag", 0), "--max-lag: expected more than 0 s, got 0"),
    ):
        with pytest.raises(SystemExit, match=match):
            infer(tmp_path / "in", *given)


def record(tmp_path, stamps_s, transforms_s):
    pytest.importorskip("rosbags")
    from ros_recordings import Recorder

    recorder = Recorder(tmp_path, ".mcap")
    for stamp_s in transforms_s:
        recorder.transform(round(stamp_s * 1e9), "odom", "lidar", [0.0, 0, 0], [1, 0, 0, 0])
    values = {k: np.ones(5, "f4") for k in ("x", "y", "z", "intensity")}
    for stamp_s in stamps_s:
        recorder.points(round(stamp_s * 1e9), "lidar", values)
    return recorder.close()


def test_a_clock_that_jumps_back(tmp_path, infer, stub, capsys):
    """The second loop of a playback is another recording."""
    path = record(tmp_path, [100, 100.1, 100.2], np.arange(99.9, 100.4, 0.1))
    from padre3d.command import frames

    read = frames.read_recording
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "read_recording", lambda *a, **k: [*read(*a, **k)] * 2)
        infer(path, "--pose-topic", "/tf", "--sweeps", 3, "--out", tmp_path / "out")
    assert lags(stub) == [[0], [0, 0.1], [0, 0.1, 0.2]] * 2
    assert "0.200 s before the last cloud: its sweeps are not joined" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_clouds_without_a_pose_fail_alone(tmp_path, infer, stub, capsys):
    path = record(tmp_path, [100, 100.2, 100.4, 100.6], np.arange(100.15, 100.45, 0.1))
    with pytest.raises(SystemExit):
        infer(path, "--pose-topic", "/tf", "--out", tmp_path / "out")
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [
        "drive_100200000000.json",
        "drive_100400000000.json",
    ]
    said = capsys.readouterr().err
    assert "error: drive_100000000000: transform odom <- lidar: expected a time within 0.1" in said
    assert "4 files, 2 failed" in said


def test_files_outside_of_the_table_fail_alone(tmp_path, infer, stub, capsys):
    for stamp in ("100.0", "100.5", "103.0"):
        cloud(tmp_path / "in" / f"c_{stamp}.bin")
    path = tmp_path / "p.csv"
    rows = "".join(f"{t},0,0,0,1,0,0,0\n" for t in (99.5, 100.25))
    path.write_text("stamp,x,y,z,qw,qx,qy,qz\n" + rows)
    with pytest.raises(SystemExit):
        infer(tmp_path / "in", "--poses", path, "--out", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["c_100.0.json"]
    assert "3 files, 2 failed" in capsys.readouterr().err


def test_messages_of_one_time_are_numbered(tmp_path, infer, stub, capsys):
    path = record(tmp_path, [100, 100, 100.1, 100.1, 100.1], [])
    infer(path, "--out", tmp_path / "out")
    first, second = "drive_100000000000", "drive_100100000000"
    assert {p.stem for p in (tmp_path / "out").iterdir()} == {
        *(first, f"{first}_2", second, f"{second}_2", f"{second}_3"),
    }


def test_one_token_for_two_frames(tmp_path, infer, capsys):
    rows = drive(tmp_path / "in", [100, 100.05])
    poses = poses_csv(tmp_path / "p.csv", [(*row[:-1], "one") for row in rows])
    options = ("--poses", poses, "--format", "nuscenes", "--out", tmp_path / "o.json")
    with pytest.raises(SystemExit):
        infer(tmp_path / "in", *options)
    assert "error: f1: expected different tokens, got one again" in capsys.readouterr().err
