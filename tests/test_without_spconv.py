"""PADRE3D_SPCONV=0: programs start without spconv, and a layer that needs it says so."""

import importlib.util
import os
import subprocess
import sys

import pytest

pytest.importorskip("mmdet3d")

PROGRAM = """
import sys
import padre3d.plugin
from padre3d.inference import build_model
from padre3d.training.config import read_config

assert not [name for name in sys.modules if name.startswith("spconv.")]
config = "configs/dsvt_padre2_synthetic.py"
print(type(build_model(read_config(config), config)).__name__)
changes = {"model.backbone.local_descriptor": "submconv"}
try:
    build_model(read_config(config, changes), config)
except Exception as error:
    print(error)
"""


@pytest.mark.skipif(importlib.util.find_spec("spconv") is None, reason="spconv is not installed")
def test_left_out_by_the_environment(repo_root):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=repo_root,
        env={**os.environ, "PADRE3D_SPCONV": "0"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    model, said = done.stdout.splitlines()[-2:]
    assert model == "PADReDetector"
    assert "needs spconv: pip install spconv-cu120, and no PADRE3D_SPCONV=0" in said
