"""The kernels compile for GPUs that are not there, from the calls that would launch them."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

FORWARD = {"project", "finish"}
BACKWARD = {"finish_backward", "mix_backward", "project_backward"}
REGISTERS_OF_A_THREAD, SHARED_BYTES = 255, {87: 163 << 10, 90: 227 << 10}


def compiled(repo_root, tmp_path, arch, *options, steps=1):
    """Figures of each kernel, in a fresh process: here the kernels are the interpreter's."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "tests/ops/triton_ahead.py", "--arch", str(arch), *options]
    run = subprocess.run(
        command, cwd=repo_root, env=environment, capture_output=True, text=True, timeout=500
    )
    assert run.returncode == 0, run.stderr[-3000:]
    figures = json.loads(run.stdout)
    for name, kernel in figures.items():
        assert kernel["entries"] == 1, name
        # One of each product in the middle; a convolution, and its gradient.
        expected = {"step": steps, "conv": 2}.get(name[:4], 1)
        assert kernel["variants"] == expected, f"{name}: compiled anew for another pillar count"
        assert kernel["registers"] <= REGISTERS_OF_A_THREAD, name
        assert kernel["shared_bytes"] <= SHARED_BYTES[arch], name
    return figures


def test_a_small_layer_compiles_for_sm_90(repo_root, tmp_path):
    figures = compiled(repo_root, tmp_path, 90, "--dim", "32")
    assert figures.keys() == FORWARD | BACKWARD
    assert all(kernel["local_bytes"] == 0 for kernel in figures.values()), figures


@pytest.mark.slow
@pytest.mark.parametrize("arch", [87, 90])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_detectors_layer_compiles(repo_root, tmp_path, arch, dtype):
    figures = compiled(repo_root, tmp_path, arch, "--dtype", dtype)
    assert figures.keys() == FORWARD | BACKWARD
    assert all(figures[name]["local_bytes"] <= 32 for name in FORWARD), figures


@pytest.mark.slow
def test_higher_degrees_and_more_channels_compile(repo_root, tmp_path):
    figures = compiled(repo_root, tmp_path, 90, "--degree", "4", "--dim", "192", steps=2)
    assert figures.keys() == FORWARD | BACKWARD | {"step", "step_backward"}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_convolution_on_a_grid_compiles(repo_root, tmp_path, dtype):
    figures = compiled(repo_root, tmp_path, 90, "--grid", "--dtype", dtype)
    # The gradient of x is the same kernel with the taps turned around.
    assert figures.keys() == {"convolve_kernel", "taps_gradient_kernel"}
    assert all(kernel["local_bytes"] == 0 for kernel in figures.values()), figures


@pytest.mark.slow
def test_the_mixer_alone_compiles(repo_root, tmp_path):
    figures = compiled(repo_root, tmp_path, 90, "--mixer")
    assert figures.keys() == {"project", "mix", "mix_backward", "project_backward"}
