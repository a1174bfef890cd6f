"""The TensorRT backend against a TensorRT and a CUDA that are not there: buffers, engines, errors.

That its calls are those of the real headers is checked where they are: TENSORRT_INCLUDE.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from padre3d.runtime.folder import sha256

PRETENDED = Path(__file__).parent / "pretended_tensorrt"
SOURCES = ("backend_tensorrt", "backend", "folder", "sha256", "text")


@pytest.fixture(scope="module")
def driver(tmp_path_factory, repo_root):
    if shutil.which("c++") is None:
        pytest.skip("the C++ runtime needs c++")
    program, cpp = tmp_path_factory.mktemp("tensorrt") / "driver", repo_root / "cpp"
    folders = [f"-I{folder}" for folder in (PRETENDED, cpp / "include", cpp / "src")]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-DPADRE3D_TENSORRT"]
    sources = [str(cpp / "src" / f"{name}.cpp") for name in SOURCES]
    command = ["c++", *flags, *folders, *sources, str(PRETENDED / "driver.cpp"), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def run(*words, devices=1):
        environment = {**os.environ, "PRETENDED_DEVICES": str(devices)}
        command = [str(program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    return run


@pytest.fixture
def model(tmp_path):
    """A model with engines of two profiles, of another model and of another TensorRT."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    own = f"model-{sha256(path)[:12]}-tensorrt"
    engines = {
        f"{own}-10.3.0-1-5-40": "1 40",
        f"{own}-10.3.0.26-2-50-300": "2 300",
        f"{own}-10.3.01-1-5-900": "1 900",
        f"{own}-9.3.0-1-5-900": "1 900",
        "model-0123456789ab-tensorrt-10.3.0-1-5-900": "1 900",
    }
    (tmp_path / "engines").mkdir()
    for name, content in engines.items():
        (tmp_path / "engines" / f"{name}.engine").write_text(content)
    return path


def test_engine_for_the_most_pillars(driver, model):
    """Frames that grow and shrink; nothing is held on the device afterwards."""
    done = driver(model, "", 4, 200, 7)
    sums = [rows * 3 * (rows * 3 - 1) for rows in (4, 200, 7)]
    expected = ["2 300", f"4 {sums[0]}", f"200 {sums[1]}", f"7 {sums[2]}", "0 held"]
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize(
    ("name", "limits"), [("features", ["3 77"]), ("backbone_features", ["3 77"]), ("other", [])]
)
def test_limits_of_every_part(driver, model, tmp_path, name, limits):
    """A frame is made to fit the part that takes pillars by the name of the second part, too."""
    for engine in (tmp_path / "engines").iterdir():
        engine.write_text(f"3 77 {name}")
    assert driver(model, "").stdout.splitlines() == [*limits, "0 held"]


def test_errors(driver, model, tmp_path):
    """One line each."""
    lines = {
        "a shape beyond the profile": driver(model, "", 301),
        "expected a CUDA device, got none": driver(model, "", 4, devices=0),
        "-tensorrt-10.3.0-MIN-OPT-MAX.engine, found none": driver(model, tmp_path, 4),
    }
    for engine in (tmp_path / "engines").iterdir():
        engine.write_text("damaged")
    lines["a magic tag that does not match"] = driver(model, "", 4)
    for message, done in lines.items():
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), message
        assert message in done.stderr


def test_real_headers(repo_root, tmp_path):
    """It compiles against TensorRT's and CUDA's own headers, in folders of TENSORRT_INCLUDE."""
    if "TENSORRT_INCLUDE" not in os.environ:
        pytest.skip("TENSORRT_INCLUDE names no folders with NvInfer.h and cuda_runtime_api.h")
    folders = [f"-isystem{path}" for path in os.environ["TENSORRT_INCLUDE"].split(":")]
    source = repo_root / "cpp/src/backend_tensorrt.cpp"
    command = ["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-DPADRE3D_TENSORRT", *folders]
    command += [f"-I{repo_root}/cpp/include", f"-I{repo_root}/cpp/src", "-fsyntax-only", source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
