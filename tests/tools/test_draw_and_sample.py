"""draw.py on an exported folder and package_sample.py, in processes of their own."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mmdet3d")

CONFIG = """
_base_ = [{base!r}]
data_root = {root!r}
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
"""


@pytest.fixture
def config(tmp_path, tiny_nuscenes, repo_root):
    base = str(repo_root / "configs/dsvt_padre2_synthetic.py")
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(base=base, root=str(tiny_nuscenes)))
    return path


def run(repo_root, *arguments):
    """Imports and registries as a user's call has them, which a test in this process would not."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=repo_root, capture_output=True, text=True
    )


def test_a_frame_is_drawn_with_an_exported_folder(config, tmp_path, repo_root, exported_padre):
    out = tmp_path / "view.png"
    done = run(repo_root, "tools/draw.py", config, exported_padre.folder, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_only_synthetic_frames_become_the_sample(config, tmp_path, repo_root, tiny_nuscenes):
    arguments = ("tools/package_sample.py", config, "--frame", 1, "--into", tmp_path)
    refused = run(repo_root, *arguments)
    assert refused.returncode == 1
    assert "expected data of tools/make_synthetic.py" in refused.stderr


def test_the_sample_is_a_frame_and_its_boxes(config, tmp_path, repo_root, tiny_nuscenes):
    copy = tmp_path / "linked"
    copy.mkdir()
    for path in tiny_nuscenes.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "statistics.json").write_text("{}")
    config.write_text(config.read_text().replace(str(tiny_nuscenes), str(copy)))
    done = run(repo_root, "tools/package_sample.py", config, "--frame", 1, "--into", tmp_path)
    assert done.returncode == 0, done.stderr
    points = np.fromfile(tmp_path / "sample_float16.bin", "<f2").reshape(-1, 5)
    assert np.abs(points[:, :2]).max() <= 54
    assert len(points) > 100
    boxes = json.loads((tmp_path / "sample_boxes.json").read_text())
    assert len(boxes["boxes"]) > 0
