"""What a user's program needs: the installed library, its CMake package and the example."""

import subprocess

import numpy as np
import pytest

from padre3d.io import load_points
from padre3d.models import model_folder, sample_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def done(*words, **options):
    result = subprocess.run([*map(str, words)], capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_example(with_openvino, openvino_cmake_folder, repo_root, tmp_path):
    """cmake --install, then the example as a project of its own."""
    done("cmake", "--install", with_openvino.folder, "--prefix", tmp_path / "installed")
    paths = (f"-Dpadre3d_ROOT={tmp_path / 'installed'}", f"-DOpenVINO_DIR={openvino_cmake_folder}")
    done("cmake", "-S", repo_root / "cpp" / "examples", "-B", tmp_path / "example", *paths)
    done("cmake", "--build", tmp_path / "example")
    whole, clouds = load_points(sample_cloud()[0]), []
    for i in range(2):
        clouds.append(tmp_path / f"{i}.npy")
        np.save(clouds[-1], whole[whole[:, 4] == np.unique(whole[:, 4])[i]])
    said = done(tmp_path / "example" / "live_loop", model_folder(), *clouds)
    assert said.count(" pillars, ") == 2
    assert " m, score 0." in said
    assert " boxes; ms: " in done_with_stderr(tmp_path, clouds[0])


def done_with_stderr(tmp_path, cloud):
    """The installed program, which finds the libraries of OpenVINO by itself."""
    (program,) = (tmp_path / "installed").glob("**/padre3d_detect")
    result = subprocess.run([program, model_folder(), cloud], capture_output=True, text=True)
    return result.stderr
