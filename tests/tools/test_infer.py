"""tools/infer.py around a stand-in detector: what goes in, what comes out, what is said."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from other_clouds import forward_x, road, write_bin, write_pcd
from torch import nn

from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.structures.grid import PillarGrid

COUNT = 2000


class Stub(nn.Module):
    """A car on the first point (score 0.9), a truck in it (0.5), a pedestrian 10 m on (0.2)."""

    class_names = NUSCENES_CLASSES
    grid = PillarGrid((-54, -54, -5, 54, 54, 3), (0.3, 0.3))

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.clouds = []

    def predict_points(self, points):
        self.clouds.append(points[0].numpy())
        inside = (points[0][:, :3].abs() < torch.tensor([54, 54, 3.0])).all(1)
        if not inside.any():
            return [Detections.empty()]
        boxes = torch.zeros(3, 9)
        boxes[:, :3] = points[0][inside][0, :3]
        boxes[:, 3:6] = torch.tensor([4.0, 2, 1.5])
        boxes[2, 1] += 10
        boxes[:, 6] = 0.5
        boxes[:, 7] = 3.0
        return [Detections(boxes, torch.tensor([0.9, 0.5, 0.2]), torch.tensor([0, 1, 8]))]


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def infer(repo_root, monkeypatch, stub, tmp_path):
    """Runs the tool with a config and a checkpoint that exist; returns the module."""
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    sys.modules.pop("infer", None)
    import infer

    monkeypatch.setattr(infer, "init_model", lambda *_: stub)
    (tmp_path / "c.py").write_text("model = dict()\n")
    (tmp_path / "w.pth").write_bytes(b"weights")

    def run(*arguments):
        infer.main([str(tmp_path / "c.py"), str(tmp_path / "w.pth"), *map(str, arguments)])

    return run


def cloud(path, xyz=None, intensity=None):
    xyz = road(COUNT) if xyz is None else xyz
    path.parent.mkdir(exist_ok=True)
    return write_bin(path, xyz, np.arange(len(xyz)) % 250 if intensity is None else intensity)


def boxes(path):
    return json.loads(path.read_text())["boxes"]


# Frames


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


# What is said


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


# Folders


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
    import infer as module

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(module, "draw_bev", fail)
    out = tmp_path / "a.json"
    with pytest.raises(SystemExit, match="error: disk full"):
        infer(cloud(tmp_path / "a.bin"), "--out", out, "--png", tmp_path / "a.png")
    assert len(boxes(out)) == 3


def test_the_picture_has_a_threshold_of_its_own(tmp_path, infer, monkeypatch):
    import infer as module

    drawn = []
    monkeypatch.setattr(module, "draw_bev", lambda *args, **more: drawn.append((args, more)))
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
        "import infer\nfrom test_infer import Stub\n"
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


# Which boxes, and how they are written


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


def poses_csv(path, rows):
    text = "stamp,x,y,z,qw,qx,qy,qz,token\n"
    path.write_text(text + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


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


# Sweeps


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


# Refusals


def refused(infer, match, *arguments):
    with pytest.raises(SystemExit, match=match):
        infer(*arguments)


def test_never_over_its_inputs(tmp_path, infer):
    path = cloud(tmp_path / "a.bin")
    before = path.read_bytes()
    (tmp_path / "link.json").symlink_to(path)
    os.link(path, tmp_path / "hard.json")
    wanted = "expected a file of its own, got the input"
    for option in ("--out", "--png"):
        for name in ("a.bin", "c.py", "w.pth", "link.json", "hard.json"):
            refused(infer, rf"^error: {option} .*{name}: {wanted}", path, option, tmp_path / name)
    both = tmp_path / "same"
    match = "--png .*same: expected a file of its own, got the file of --out"
    refused(infer, match, path, "--out", both, "--png", both)
    assert path.read_bytes() == before
    assert (tmp_path / "w.pth").read_bytes() == b"weights"


def test_folders_and_files_are_not_mixed_up(tmp_path, infer):
    path = cloud(tmp_path / "in" / "a.bin")
    refused(infer, "--out .*in: expected a file to write", path, "--out", tmp_path / "in")
    refused(
        infer, "--out .*: expected a folder to write", tmp_path / "in", "--out", tmp_path / "c.py"
    )
    infer(tmp_path / "in", "--out", tmp_path / "in")
    assert len(boxes(tmp_path / "in" / "a.json")) == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--score-thr", "nan"), "--score-thr: expected a number from 0 to 1, got nan"),
        (("--score-thr", "1.5"), "--score-thr: expected a number from 0 to 1, got 1.5"),
        (("--class-thr", "tram=0.5"), "--class-thr: expected one of car, .*got 'tram'"),
        (("--class-thr", "car"), "--class-thr: expected CLASS=SCORE, got 'car'"),
        (("--class-thr", "car=0.5", "--classes", "bus"), "--class-thr: expected one of --classes"),
        (("--classes", "lorry"), "--classes: expected one of car, .*got 'lorry'"),
        (("--nms-iou", "-1"), "--nms-iou: expected a number from 0 to 1"),
        (("--draw-thr", "0.5"), "--draw-thr: expected --png"),
        (("--backend", "onnxruntime"), "--backend: expected an exported folder"),
        (("--device", "cuda:99"), "--device cuda:99: expected one of . CUDA devices"),
        (("--device", "gpu"), "--device: expected cpu, cuda or cuda:N, got 'gpu'"),
        (("--topic", "/points"), "--topic: expected a recording"),
        (("--pose-topic", "/tf"), "--pose-topic: expected a recording"),
        (("--fixed-frame", "map"), "--fixed-frame: expected --pose-topic"),
        (("--sweeps", "5"), "--sweeps: expected --poses or --pose-topic"),
        (("--lidar-to-ego", "0,0,0,1,0,0,0"), "--lidar-to-ego: expected --poses"),
        (("--format", "nuscenes"), "--format nuscenes: expected --out, and poses"),
        (("--intensity-field", "i"), "--intensity-field i: expected columns with names"),
        (("--time-lag",), "--time-lag, --time-unit: expected a fifth column"),
        (("--axes", "kitti", "--yaw", "nan"), "--yaw: expected a finite number, got nan"),
        (("--origin", "1,2"), "--origin: expected X,Y,Z, got '1,2'"),
        (("--columns", "2"), "--columns: expected 3 or more, got 2"),
        (("--out", "/dev/null/a.json"), "/dev/null"),
    ],
)
def test_options_that_cannot_be(tmp_path, infer, options, match):
    refused(infer, f"^error: .*{match}", cloud(tmp_path / "a.bin"), *options)


def test_options_of_other_files(tmp_path, infer):
    fields = {n: np.ones(3) for n in ("x", "y", "z", "intensity")}
    path = write_pcd(tmp_path / "a.pcd", fields)
    for option, value in (("--columns", "4"), ("--fields", "x,y,z"), ("--dtype", "float64")):
        refused(infer, rf"{option}: expected a \.bin .*got none", path, option, value)


def test_configs_that_are_none(tmp_path, infer, monkeypatch):
    import infer as module

    from padre3d.inference import init_model

    monkeypatch.setattr(module, "init_model", init_model)
    path = cloud(tmp_path / "a.bin")
    (tmp_path / "c.py").write_text("backbone = 3\n")
    refused(infer, r"^error: config .*c\.py: expected a model in it, got backbone$", path)
    (tmp_path / "c.py").write_text("model = dict(type='Nothing')\n")
    refused(infer, r"^error: config .*c\.py: .*Nothing is not in the", path)
    (tmp_path / "c.py").write_text("model = = 3\n")
    refused(infer, r"^error: config .*c\.py: ", path)
    (tmp_path / "c.py").write_text("model = dict(type='Nothing')\n")
    with pytest.raises(ValueError, match="not in the") as raised:
        infer(path, "--debug")
    assert isinstance(raised.value.__cause__, KeyError)


def test_exported_folders_take_no_device_and_keep_their_files(tmp_path, infer, repo_root):
    import infer as module

    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    path = str(cloud(tmp_path / "a.bin"))
    for options, match in (
        (("--device", "cpu"), "--device: expected a checkpoint, got an exported folder"),
        (("--out", str(folder / "manifest.json")), "expected a file of its own, got the input"),
        (("--out", str(folder)), "--out .*exported: expected a file to write, got another"),
    ):
        with pytest.raises(SystemExit, match=match):
            module.main([str(tmp_path / "c.py"), str(folder), path, *options])
    assert (folder / "manifest.json").read_text() == "{}"
