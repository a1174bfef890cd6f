"""Memory of the C++ runtime under AddressSanitizer and UndefinedBehaviorSanitizer, with leaks."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from broken_folders import arrays, make_folder, valid, write

from padre3d.models import model_folder, model_names, sample_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
INPUTS = int(os.environ.get("PADRE3D_FUZZ_INPUTS", "2000"))


@pytest.mark.parametrize("name", model_names())
def test_no_leak_on_a_frame(sanitised, name):
    """The whole way, twice, on two threads."""
    if not sanitised.openvino:
        pytest.skip("the C++ runtime has no backend here: OpenVINO is not installed")
    words = (model_folder(name), sample_cloud()[0], "--repeat", 2, "--threads", 2)
    done = sanitised.detect(*words)
    assert done.returncode == 0, done.stderr
    assert "Sanitizer" not in done.stderr
    assert len(json.loads(done.stdout)["boxes"]) > 5


def test_a_leak_is_found(sanitised, tmp_path):
    """Under the same conditions."""
    source = tmp_path / "leak.cpp"
    source.write_text("#include <vector>\nint main() { new std::vector<int>(9); }\n")
    subprocess.run(["c++", "-fsanitize=address", source, "-o", tmp_path / "leak"], check=True)
    environment = {**os.environ, **sanitised.environment}
    done = subprocess.run([tmp_path / "leak"], capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "LeakSanitizer" in done.stderr


def test_encoder_library(sanitised, repo_root):
    """Its own tests once more, in a Python that loads the sanitisers first."""
    names = ("libasan.so", "libubsan.so", "libstdc++.so.6")
    found = [
        subprocess.run(["c++", f"-print-file-name={name}"], capture_output=True, text=True)
        for name in names
    ]
    changed = {
        "LD_PRELOAD": " ".join(run.stdout.strip() for run in found),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PADRE3D_CPP_BUILD": str(sanitised.folder),
    }
    path = "tests/cpp/test_cpp_encoder_library.py"
    chosen = "values or count or callers or order or refuses or forked"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path, "-k", chosen],
        capture_output=True,
        text=True,
        cwd=repo_root,
        env={**os.environ, **changed},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert re.search(r"^\d\d passed, \d+ deselected in", done.stdout, re.MULTILINE)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut out, doubled or inserted in one to four places."""
    for _ in range(rng.integers(1, 5)):
        at, size = int(rng.integers(len(content) + 1)), int(rng.integers(1, 40))
        scrap = [
            bytes(rng.integers(0, 256, size, dtype=np.uint8)),
            b"",
            content[at : at + size] * 2,
            b"\xff" * size,
            b"\0" * size,
        ][rng.integers(5)]
        content = content[:at] + scrap + content[at + int(rng.integers(0, size + 1)) :]
    return content


def run(cpp, kind, paths):
    """One line for each path, whatever is in it; how many could be read."""
    done = cpp.run("padre3d_test_tool", "check", kind, input="".join(f"{p}\n" for p in paths))
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    for path, line in zip(paths, lines, strict=True):
        assert line == "ok" or line.startswith(str(path)), line
    return lines.count("ok")


def clouds(rng, folder):
    """Damaged .bin and .npy files."""
    points = rng.uniform(-50, 50, (60, 5)).astype(np.float32)
    points[:, 3:] = np.abs(points[:, 3:]) // [1, 8]
    np.save(folder / "whole.npy", points)
    contents = {".npy": (folder / "whole.npy").read_bytes(), ".bin": points.tobytes()}
    contents[".pcd.bin"] = contents[".bin"]
    contents["_float16.bin"] = points.astype(np.float16).tobytes()
    paths = []
    for number in range(INPUTS):
        suffix = list(contents)[number % len(contents)]
        paths.append(folder / f"{number}{suffix}")
        paths[-1].write_bytes(damaged(contents[suffix], rng))
    return paths


def test_damaged_clouds(sanitised, tmp_path):
    good = run(sanitised, "cloud", clouds(np.random.default_rng(0), tmp_path))
    assert INPUTS / 50 < good < INPUTS * 0.9


def small_model() -> bytes:
    """A model with a weight of its own, and one in a file that the manifest vouches for."""
    onnx = pytest.importorskip("onnx")
    inside, outside = (
        onnx.numpy_helper.from_array(np.arange(9, dtype=np.float32), name) for name in "ab"
    )
    onnx.external_data_helper.set_external_data(outside, "tables.npz", 0, 36)
    outside.ClearField("raw_data")
    node = onnx.helper.make_node("Constant", [], ["c"], value=inside)
    graph = onnx.helper.make_graph([node], "graph", [], [], [inside, outside])
    return onnx.helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("manifest", "manifest.json"), ("tables", "tables.npz"), ("folder", "model.onnx")],
)
def test_damaged_folders(sanitised, tmp_path, kind, name):
    """One file damaged; for the model the checksum is made right again."""
    rng = np.random.default_rng(1)
    start = make_folder(tmp_path / "start")
    np.savez_compressed(start / "tables.npz", **arrays())
    (start / "model.onnx").write_bytes(small_model())
    write(start, valid(start))
    assert run(sanitised, kind, [start]) == 1
    content, folders = (start / name).read_bytes(), []
    for number in range(INPUTS):
        folders.append(shutil.copytree(start, tmp_path / str(number)))
        (folders[-1] / name).write_bytes(damaged(content, rng))
        if name == "model.onnx":
            write(folders[-1], valid(folders[-1]))
    good = run(sanitised, kind, folders)
    assert good < INPUTS * 0.9


def test_damaged_frames(sanitised, tmp_path):
    """Clouds of any numbers through the encoder and the index inputs of every layout."""
    rng = np.random.default_rng(2)
    for name in model_names():
        for number in range(20):
            numbers = rng.integers(0, 256, (rng.integers(0, 400), 20), dtype=np.uint8)
            points = numbers.view(np.float32)
            points[::2] = rng.normal(0, 20, points[::2].shape)
            out = tmp_path / f"{name}{number}"
            out.mkdir()
            np.save(out / "cloud.npy", points)
            words = ("stages", model_folder(name), out / "cloud.npy", out, 500, 0, number % 3 * 5)
            assert len(sanitised.tool(*words, 2).split()) == 2
