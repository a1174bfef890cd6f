"""What the C++ program writes: never over an input, whole or not at all."""

import json
import os
import resource
import shutil

import pytest
from test_cpp_detect import detect, refused

from padre3d.models import model_folder, sample_cloud

LEAST_BYTES = 64


@pytest.fixture
def inputs(tmp_path):
    """A folder with everything that is read, and other names of it."""
    folder = tmp_path / "inputs"
    shutil.copytree(model_folder(), folder / "model")
    (folder / "model/engines").mkdir()
    (folder / "other").mkdir()
    for name in ("cloud.npy", "poses.csv", "model/engines/a.engine", "other/b.engine"):
        (folder / name).write_text(name)
    (folder / "link.csv").symlink_to("poses.csv")
    os.link(folder / "model/model.onnx", folder / "hard.onnx")
    (folder / "dangling").symlink_to("new.json")
    return folder


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("option", ["--out", "--times"])
@pytest.mark.parametrize(
    ("target", "taken"),
    [
        ("cloud.npy", "cloud.npy"),
        ("poses.csv", "poses.csv"),
        ("other/../poses.csv", "poses.csv"),
        ("link.csv", "poses.csv"),
        ("model", "model"),
        ("model/manifest.json", "model/manifest.json"),
        ("model/info.json", "model/info.json"),
        ("hard.onnx", "model/model.onnx"),
        ("model/engines/a.engine", "model/engines/a.engine"),
        ("other/b.engine", "other/b.engine"),
    ],
)
def test_inputs_are_kept(cpp, inputs, option, target, taken):
    before = files(inputs)
    words = (inputs / "model", inputs / "cloud.npy", "--poses", inputs / "poses.csv")
    said = refused(cpp, *words, "--engines", inputs / "other", option, inputs / target)
    expected = f"expected a file of its own, got the input {inputs / taken}\n"
    assert said == f"error: {option} {inputs / target}: {expected}"
    assert files(inputs) == before


@pytest.mark.parametrize(
    ("out", "times"),
    [("a.json", "a.json"), ("a.json", "other/../a.json"), ("new.json", "dangling")],
)
def test_two_files_of_one_name(cpp, inputs, out, times):
    out, times = inputs / out, inputs / times
    words = (inputs / "model", inputs / "cloud.npy", "--out", out, "--times", times)
    expected = f"--times {times}: expected a file of its own, got the file of --out {out}\n"
    assert refused(cpp, *words) == f"error: {expected}"
    assert not (inputs / "a.json").exists()


def test_a_folder_is_refused_before_the_work(cpp, inputs, tmp_path):
    (tmp_path / "out").mkdir()
    words = (inputs / "model", inputs / "cloud.npy", "--out", tmp_path / "out")
    said = refused(cpp, *words)
    assert said == f"error: --out {tmp_path / 'out'}: expected a file to write, got a folder\n"


def test_other_files_are_kept(with_openvino, tmp_path):
    """One that is named as temporary files once were, and the one behind a link to nothing."""
    (tmp_path / "boxes.json.part").write_text("mine")
    (tmp_path / "link.json").symlink_to("boxes.json")
    words = (model_folder(), sample_cloud()[0], "--time-lag", "--out", tmp_path / "link.json")
    detect(with_openvino, *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "boxes.json",
        "boxes.json.part",
        "link.json",
    ]
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "boxes.json.part").read_text() == "mine"
    assert len(json.loads((tmp_path / "boxes.json").read_text())["boxes"]) > 5
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "boxes.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_failed_write_leaves_the_old_file(with_openvino, tmp_path):
    """As on a full disk."""
    out = tmp_path / "boxes.json"
    out.write_text("old")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (LEAST_BYTES, LEAST_BYTES))

    words = (model_folder(), sample_cloud()[0], "--time-lag", "--out", out)
    # Python ignores the signal, and so does a program that it starts, unless it restores signals.
    done = with_openvino.run("padre3d_detect", *words, preexec_fn=limit, restore_signals=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {out}: expected a file that can be written"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("boxes.json", "old")]


def test_results_inside_the_folder_may_be_written_again(with_openvino, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder(), folder)
    out = folder / "boxes.json"
    words = (folder, sample_cloud()[0], "--time-lag", "--out", out)
    detect(with_openvino, *words)
    out.write_text("a former result")
    detect(with_openvino, *words)
    assert len(json.loads(out.read_text())["boxes"]) > 5


def test_a_device_may_take_both(with_openvino):
    null = "/dev/null"
    detect(with_openvino, model_folder(), sample_cloud()[0], "--out", null, "--times", null)


def test_a_folder_that_is_none(with_openvino, tmp_path):
    """The result does not land in the current folder instead."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "boxes.json").write_text("mine")
    words = (model_folder(), sample_cloud()[0], "--out", "loop/boxes.json")
    done = with_openvino.run("padre3d_detect", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: loop/boxes.json: expected a file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["boxes.json", "loop"]
    assert (tmp_path / "boxes.json").read_text() == "mine"
