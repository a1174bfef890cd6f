"""The core needs torch and nothing else: proved in a fresh process that blocks the rest."""

import subprocess
import sys

BLOCKED = """
    mmdet3d mmdet mmcv mmengine spconv cumm triton scipy nuscenes trimesh onnx onnxruntime
    onnxscript matplotlib rich cv2 numba timm transformers torchvision pandas PIL
"""

PROGRAM = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"blocked: {name}")

BLOCKED = set(%r)
sys.meta_path.insert(0, Block())
import torch
import padre3d, padre3d.ops, padre3d.ops.padre, padre3d.mixers
torch.manual_seed(0)
mixer = padre3d.mixers.build_mixer(dict(type="padre", degree=2), dim=16)
out = mixer(torch.randn(1, 30, 16))
assert out.shape == (1, 30, 16) and out.isfinite().all() and out.std() > 0.1
assert not BLOCKED & {name.split(".")[0] for name in sys.modules if sys.modules[name]}
print("ok")
"""


def test_core_runs_with_torch_alone(repo_root):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM % BLOCKED.split()],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "ok"
