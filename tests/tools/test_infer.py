"""tools/infer.py around a stand-in detector: what goes in, what comes out, what is said."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from infer_stub import COUNT, boxes, cloud, poses_csv
from other_clouds import forward_x, road, write_pcd


def test_boxes_come_back_in_the_inputs_frame(tmp_path, infer, stub):
    """One scene in both axes gives the same cloud to the model and the same boxes in the scene."""
    scene = road(COUNT)
    infer(cloud(tmp_path / "a.bin", scene), "--out", tmp_path / "a.json")
    kitti = forward_x(scene) + [0, 0, 1.84]
    options = ("--axes", "kitti", "--sensor-height", 0)
    infer(cloud(tmp_path / "b.bin", kitti), "--out", tmp_path / "b.json", *options)
    np.testing.assert_allclose(stub.clouds[1], stub.clouds[0], atol=1e-5)
    here, there = boxes(tmp_path / "a.json"), boxes(tmp_path / "b.json")
    x, y, z = here[0]["center_m"]
    np.testing.assert_allclose(there[0]["center_m"], [y, -x, z + 1.84], atol=2e-4)
    assert there[0]["yaw_rad"] == pytest.approx(0.5 - np.pi / 2, abs=1e-3)
    np.testing.assert_allclose(there[0]["velocity_mps"], [0, -3], atol=1e-3)


def test_presets_know_their_axes(tmp_path, infer, stub):
    kitti = forward_x(road(COUNT)) + [0, 0, 0.11]
    path = cloud(tmp_path / "k.bin", kitti, np.linspace(0, 1, COUNT))
    infer(path, "--preset", "kitti", "--out", tmp_path / "k.json")
    np.testing.assert_allclose(stub.clouds[0][:, :3], road(COUNT), atol=1e-5)
    assert stub.clouds[0][:, 3].max() == 255


def test_georeferenced_and_millimetres(tmp_path, infer, stub):
    far = np.array([451_230.0, 5_411_007.0, 112.0])
    fields = {n: (road(COUNT) + far)[:, i] for i, n in enumerate("xyz")}
    path = write_pcd(tmp_path / "g.pcd", {**fields, "intensity": np.full(COUNT, 9.0)})
    origin = "--origin=451230,5411007,112"
    out, png = tmp_path / "g.json", tmp_path / "g.png"
    infer(path, origin, "--out", out, "--png", png)
    np.testing.assert_allclose(stub.clouds[0][:, :3], road(COUNT), atol=1e-5)
    np.testing.assert_allclose(boxes(out)[0]["center_m"], road(COUNT)[0] + far, atol=2e-4)
    assert png.stat().st_size > 1000


def test_zero_boxes_are_explained_in_one_line(tmp_path, infer, capsys):
    fields = {n: (road(COUNT) + [451_230, 0, 0])[:, i] for i, n in enumerate("xyz")}
    infer(write_pcd(tmp_path / "g.pcd", {**fields, "intensity": np.full(COUNT, 9.0)}))
    (line,) = [t for t in capsys.readouterr().err.splitlines() if "no boxes:" in t]
    assert line.startswith("  no boxes: no point within +-54 m; x spans 451,")
    assert "--origin" in line


def test_the_short_report(tmp_path, infer, capsys):
    xyz = road(COUNT)
    xyz[:100] = 0
    xyz[100:103] = np.nan
    infer(cloud(tmp_path / "a.bin", xyz, np.linspace(0, 1, COUNT)), "--columns", "4")
    said = capsys.readouterr().err
    assert "1897 points (3 with NaN or infinity, 100 at the origin dropped), 3 boxes" in said
    short = "1,897 points in range; metres (guess); forward taken as y; ground z -1.84 m; intensity"
    assert f"  {short} 0 to 1 (column 4); time none: one sweep, lag 0; trained on 10" in said
    assert "! no intensity exceeds 1, the model expects 0 to 255: --intensity-scale 255" in said
    assert said.splitlines()[-1].startswith(
        "1 file, 0 failed; boxes: car 1, truck 1, pedestrian 1; "
    )
    assert said.splitlines()[-1].endswith(" ms a frame (reading and detection)")


def test_a_folder_goes_on_after_bad_files(tmp_path, infer, capsys):
    folder = tmp_path / "in"
    cloud(folder / "a.bin")
    (folder / "b.pcd").write_bytes(b"torn")
    cloud(folder / "c.bin")
    (folder / "d.npy").touch()
    with pytest.raises(SystemExit) as stopped:
        infer(folder, "--out", tmp_path / "out")
    assert stopped.value.code == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.json", "c.json"]
    said = capsys.readouterr().err
    end = said[said.index("2 failed:") :].splitlines()
    assert "b.pcd: expected a .pcd header" in end[1]
    assert "d.npy: expected a complete .npy array" in end[2]
    assert end[3].startswith("4 files, 2 failed; boxes: car 2, truck 2, pedestrian 2; ")


def test_a_single_bad_file_is_one_line(tmp_path, infer):
    (tmp_path / "b.pcd").write_bytes(b"torn")
    with pytest.raises(SystemExit, match=r"^error: .*b\.pcd: expected a \.pcd header"):
        infer(tmp_path / "b.pcd")


def test_boxes_are_written_before_the_picture(tmp_path, infer, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("padre3d.command.pictures.draw_bev", fail)
    out = tmp_path / "a.json"
    with pytest.raises(SystemExit, match="error: disk full"):
        infer(cloud(tmp_path / "a.bin"), "--out", out, "--png", tmp_path / "a.png")
    assert len(boxes(out)) == 3


def test_the_picture_has_a_threshold_of_its_own(tmp_path, infer, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "padre3d.command.pictures.draw_bev", lambda *args, **more: drawn.append((args, more))
    )
    path, png = cloud(tmp_path / "a.bin"), tmp_path / "a.png"
    infer(path, "--png", png)
    infer(path, "--png", png, "--draw-thr", "0.6", "--axes", "kitti")
    assert [args[3].tolist() for args, _ in drawn] == [
        pytest.approx([0.9, 0.5]),
        [pytest.approx(0.9)],
    ]
    assert drawn[0][1]["axis_labels"] == ("x, right (m)", "y, forward (m)")
    assert drawn[1][1]["axis_labels"] == ("x, forward (m)", "y, left (m)")


def test_a_closed_pipe_is_no_traceback(tmp_path, repo_root):
    """The reader has gone before the boxes come."""
    script = tmp_path / "run.py"
    script.write_text(
        f"import sys\nsys.path[:0] = {[str(repo_root / 'tools'), str(repo_root), *sys.path]!r}\n"
        f"sys.path.insert(0, {str(repo_root / 'tests/tools')!r})\n"
        "import infer\nfrom infer_stub import Stub\n"
        "infer.init_model = lambda *_: Stub()\ninfer.main(sys.argv[1:])\n"
    )
    path = cloud(tmp_path / "a.bin")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, str(script), "c.py", "w.pth", str(path)],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
    )
    os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_classes_and_thresholds(tmp_path, infer):
    path, out = cloud(tmp_path / "a.bin"), tmp_path / "a.json"

    def names(*options):
        infer(path, "--out", out, *options)
        return [box["name"] for box in boxes(out)]

    assert names() == ["car", "truck", "pedestrian"]
    assert names("--score-thr", "0.3") == ["car", "truck"]
    assert names("--score-thr", "0.95", "--class-thr", "truck=0.4,pedestrian=0.1") == [
        "truck",
        "pedestrian",
    ]
    assert names("--classes", "pedestrian,bus,car") == ["car", "pedestrian"]
    assert names("--nms-iou", "0.2") == ["car", "pedestrian"]


def test_csv(tmp_path, infer, capsys):
    infer(cloud(tmp_path / "a.bin"), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["frame", "name", "score", *"xyzlwh", "yaw", "vx", "vy"]
    assert [r["name"] for r in rows] == ["car", "truck", "pedestrian"]
    values = [float(rows[0][key]) for key in ("x", "y", "z", "l", "w", "h", "yaw", "vx")]
    np.testing.assert_allclose(values, [*road(COUNT)[0], 4, 2, 1.5, 0.5, 3], atol=1e-4)


def test_kitti_text(tmp_path, infer):
    """Read back into the cloud's axes as the KITTI devkit documents them."""
    infer(cloud(tmp_path / "a.bin"), "--format", "kitti", "--out", tmp_path / "a.txt")
    car = (tmp_path / "a.txt").read_text().splitlines()[0].split()
    assert car[0] == "Car"
    assert len(car) == 16
    height, width, length, x, y, z, turn, score = map(float, car[8:])
    assert (height, width, length, score) == pytest.approx((1.5, 2, 4, 0.9), abs=1e-4)
    # In nuScenes' axes x is the camera's x and y its z; the bottom is half a height lower.
    np.testing.assert_allclose([x, z, -y + height / 2], road(COUNT)[0], atol=2e-4)
    # ry counts from the camera's x axis about its y axis, which points down.
    assert turn == pytest.approx(-0.5, abs=1e-4)
    assert float(car[3]) == pytest.approx(turn - np.arctan2(x, z), abs=1e-3)


def test_nuscenes_submission(tmp_path, infer):
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    folder = tmp_path / "in"
    cloud(folder / "a.bin")
    cloud(folder / "b.bin")
    quarter = np.sqrt(0.5)
    poses = poses_csv(
        tmp_path / "p.csv",
        [(1.0, 0, 0, 0, 1, 0, 0, 0, "one"), (1.1, 100, 200, 0, quarter, 0, 0, quarter, "two")],
    )
    out = tmp_path / "results.json"
    infer(folder, "--poses", poses, "--format", "nuscenes", "--out", out)
    content = json.loads(out.read_text())
    assert content["meta"]["use_lidar"]
    assert not content["meta"]["use_camera"]
    found = EvalBoxes.deserialize(content["results"], DetectionBox)
    assert sorted(found.sample_tokens) == ["one", "two"]
    car = found["two"][0]
    x, y, z = road(COUNT)[0]
    np.testing.assert_allclose(car.translation, [100 - y, 200 + x, z], atol=1e-4)
    np.testing.assert_allclose(car.velocity, [0, 3], atol=1e-6)
    assert car.size == pytest.approx((2, 4, 1.5))
    from pyquaternion import Quaternion

    yaw = Quaternion(car.rotation).yaw_pitch_roll[0]
    assert yaw == pytest.approx(0.5 + np.pi / 2)
    assert car.attribute_name == "vehicle.moving"
