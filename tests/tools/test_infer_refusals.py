"""tools/infer.py refuses what cannot be, and says why, in one line."""

import os

import numpy as np
import pytest
from infer_stub import boxes, cloud
from other_clouds import write_pcd


def refused(infer, match, *arguments):
    with pytest.raises(SystemExit, match=match):
        infer(*arguments)


def test_never_over_its_inputs(tmp_path, infer):
    path = cloud(tmp_path / "a.bin")
    before = path.read_bytes()
    (tmp_path / "link.json").symlink_to(path)
    os.link(path, tmp_path / "hard.json")
    message = "expected a file of its own, got the input"
    for option in ("--out", "--png"):
        for name in ("a.bin", "c.py", "w.pth", "link.json", "hard.json"):
            refused(infer, rf"^error: {option} .*{name}: {message}", path, option, tmp_path / name)
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
        (("--encoder", "library.so"), "--encoder: expected an exported folder"),
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
