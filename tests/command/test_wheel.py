"""The wheel, built with a model and a sample of the test's own, away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from small_detector import cloud

from padre3d import models
from padre3d.io.boxes_json import write_boxes_json
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES

BUILT_FROM = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "requirements.txt")
MOST_BYTES = 28e6
TRUTH = Detections(np.array([[1.0, 2, 0, 4, 2, 1.5, 0, 0, 0]]), np.ones(1), np.zeros(1, int))
WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "mmcv", "mmengine", "mmdet", "mmdet3d", "onnx"):
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Block())
from padre3d.__main__ import main
sys.argv = ["padre3d", *sys.argv[1:]]
main()
"""


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repo_root, tmp_path_factory, exported_padre):
    pytest.importorskip("plotly")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("padre3d", "requirements"):
        shutil.copytree(repo_root / name, source / name, ignore=ignored)
    for name in BUILT_FROM:
        shutil.copy(repo_root / name, source)
    kept = source / "padre3d/models"
    shutil.copytree(exported_padre.folder, kept / "tiny")
    (kept / "tiny" / models.INFO).write_text(json.dumps({"nds": 1.0}))
    cloud(1500).numpy().astype("<f2").tofile(kept / models.SAMPLE)
    write_boxes_json(kept / models.SAMPLE_BOXES, TRUTH, NUSCENES_CLASSES)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*pip, "--wheel-dir", str(folder), str(source)], cwd=folder)
    (path,) = folder.glob("*.whl")
    shutil.rmtree(source)
    return path


def test_the_wheel_has_the_model_the_sample_and_the_page(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (n for n in names if n.endswith("METADATA"))
        lines = archive.read(metadata).decode().splitlines()
        (entries,) = (n for n in names if n.endswith("entry_points.txt"))
        assert "padre3d = padre3d.__main__:main" in archive.read(entries).decode()
    for name in ("models/tiny/model.onnx", "models/tiny/manifest.json", "models/tiny/tables.npz"):
        assert f"padre3d/{name}" in names
    for name in (models.SAMPLE, models.SAMPLE_BOXES):
        assert f"padre3d/models/{name}" in names
    kept = [path for path in models.ROOT.glob("*_synthetic/**/*") if path.is_file()]
    assert {f"padre3d/models/{path.relative_to(models.ROOT)}" for path in kept} <= names
    assert "padre3d/models/padre2_full_synthetic/int8-cpu/model.onnx" in names
    assert wheel.stat().st_size < MOST_BYTES
    assert {
        "padre3d/py.typed",
        "padre3d/visual/page/view.html",
        "padre3d/visual/page/view.js",
    } <= names
    needed = [line.split(": ")[1] for line in lines if line.startswith("Requires-Dist")]
    assert all("extra ==" in line for line in needed)  # the package alone needs nothing
    runtime = {n.split(";")[0].strip() for n in needed if 'extra == "runtime"' in n}
    assert runtime == {"numpy", "msgspec", "onnxruntime", "matplotlib", "plotly", "rich"}
    assert any(n.startswith("torch") and 'extra == "torch"' in n for n in needed)


def check_sample(folder, printed):
    for name in ("boxes.json", "view.png", "view.html"):
        assert f"padre3d_sample/{name}: " in printed
        assert (folder / "padre3d_sample" / name).stat().st_size > 0
    assert json.loads((folder / "padre3d_sample/boxes.json").read_text())["boxes"]


def test_it_detects_without_torch(wheel, tmp_path):
    """With the libraries at hand, those of training refused."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    arguments = ["detect", "--score-thr", "0.01"]
    printed = run([sys.executable, "-c", WITHOUT_TORCH, *arguments], cwd=work, env=env)
    check_sample(work, printed)
    printed = run([sys.executable, "-c", WITHOUT_TORCH, "export-info", "tiny"], cwd=work, env=env)
    assert f"{tmp_path / 'site'}" in printed


@pytest.mark.slow
def test_a_fresh_environment_detects(wheel, tmp_path):
    """Needs a package index: the libraries are installed from it."""
    python = tmp_path / "venv/bin/python"
    run([sys.executable, "-m", "venv", str(tmp_path / "venv")])
    run([str(python), "-m", "pip", "install", "--quiet", f"{wheel}[runtime]"], cwd=tmp_path)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(python.with_name("padre3d")), "detect", "--score-thr", "0.01"]
    check_sample(tmp_path, run(command, cwd=tmp_path, env=env))
    absent = "import importlib.util as u; print([n for n in ('torch', 'mmcv') if u.find_spec(n)])"
    assert run([str(python), "-c", absent], env=env, cwd=tmp_path).strip() == "[]"
