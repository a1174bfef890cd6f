"""The README's example of the operator: as long as it claims, and with torch alone."""

import re
import subprocess
import sys

PROGRAM = """
import sys

KEPT = set(sys.stdlib_module_names) | set(%r)

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in KEPT:
            raise ImportError(f"blocked: {name}")

import torch
sys.meta_path.insert(0, Block())
torch.manual_seed(0)
exec(%r)
assert not {name.split(".")[0] for name in sys.modules} & {"mmengine", "scipy", "timm"}
assert torch.equal(out, mixer(tokens)) and tokens.grad.isfinite().all() and tokens.grad.norm() > 0
"""
# torch, what torch itself imports late, and ours; numpy is optional to torch and not to be had.
KEPT = ["torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath", "padre3d"]


def test_it_runs_with_torch_alone(repo_root):
    example = re.search(r"```python\n(.*?)```", (repo_root / "README.md").read_text(), re.S)[1]
    lines = [line for line in example.splitlines() if line]
    assert len(lines) <= 15
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM % (KEPT, example)],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    shape, difference, attention = run.stdout.splitlines()
    assert shape == "torch.Size([1, 20000, 128]) 51072"
    assert float(re.search(r"\d[\d.e-]*", difference)[0]) < 1e-5  # padding changes nothing
    assert attention == "torch.Size([1, 90, 128])"
