"""Signals still arrive after OpenVINO's models have come and gone."""

import subprocess
import sys

import pytest

openvino = pytest.importorskip("openvino")

# Sessions that go in the order in which they came, then a child that ends: its SIGCHLD runs a
# Python handler, which the C library calls on the thread's alternate stack.
PROGRAM = """
import faulthandler, signal, subprocess, sys
from pathlib import Path
from padre3d.backends.base import Options
from padre3d.backends.openvino import loader

faulthandler.enable()
path = Path(sys.argv[1])
sessions = [loader("f32", "openvino")(path, Options(threads=1)) for _ in range(2)]
while sessions:
    del sessions[0]
seen = []
signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
subprocess.run([sys.executable, "-c", ""], check=True)
assert seen
"""


def test_a_child_process_may_end_after_two_sessions(tmp_path):
    path = tmp_path / "model.onnx"
    helper = pytest.importorskip("onnx").helper
    ends = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "abs", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 18)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
