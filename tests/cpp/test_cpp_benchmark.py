"""benchmarks/cpp_runtime.py: well-formed results, and a gate that another export does not pass."""

import json

import pytest
import torch

from padre3d.models import model_folder, sample_cloud

pytest.importorskip("openvino")

from benchmarks import common, cpp_runtime, tables  # noqa: E402


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(common, "product_gflops", lambda device, dtype: 100.0)
    monkeypatch.setattr(common, "copy_gb_per_s", lambda device: 10.0)


def test_result(with_openvino, tmp_path):
    threads = torch.get_num_threads()
    words = [str(model_folder()), "--points", str(sample_cloud()[0]), "--quick"]
    words += ["--build", str(with_openvino.folder), "--json", str(tmp_path / "out.json")]
    cpp_runtime.main([*words, "--threads", str(threads)])
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["pillars"] == 3519
    assert result["gate"]["features"] < 2e-5
    parts = ("pillars", "orders", "boxes", "all")
    assert set(result["times"]) == {f"{p}, {of}" for p in parts for of in ("C++", "Python")}
    for t in result["times"].values():
        assert 0 < t["min_ms"] <= t["q1_ms"] <= t["median_ms"] <= t["q3_ms"]
    cpu = [result["times"][f"all, {of}"]["cpu_ms"] for of in ("Python", "C++")]
    assert result["cpu_ratio_vs_python"] == pytest.approx(cpu[0] / cpu[1], abs=1e-3)
    rows = tables.cpp_runtime([result | {"folder": "cpu", "file": "cpp_runtime.json"}])
    assert rows.count("| C++ |") == rows.count("| Python |") == 4


def test_the_gate_finds_other_boxes(with_openvino, tmp_path):
    """An empty file of outputs, and boxes of another frame, are not timed."""
    import numpy as np

    from padre3d.structures.boxes import Detections

    (tmp_path / "folder").symlink_to(model_folder())
    np.savez(tmp_path / "outputs.npz")
    with pytest.raises(common.GateError, match="decode: error: outputs: expected"):
        cpp_runtime.check_boxes(with_openvino.folder, Detections.empty(), tmp_path)
