"""benchmarks/cpp_runtime.py and the rows in C++ of benchmarks/whole.py: well-formed results, and
gates that another export does not pass."""

import contextlib
import json
import re

import pytest
import torch

from padre3d.models import model_folder, sample_cloud
from padre3d.structures.grid import PillarGrid

pytest.importorskip("openvino")

from benchmarks import common, cpp_process, cpp_runtime, report, tables, whole  # noqa: E402
from padre3d.deploy import Runtime  # noqa: E402
from padre3d.io import load_points  # noqa: E402

TWIN, LABEL = "packaged, openvino", "packaged, openvino, C++"


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


@pytest.fixture
def packaged():
    """The case in Python of a packaged model, and its points."""
    points = load_points(sample_cloud()[0])
    with Runtime(model_folder(), "openvino", threads=torch.get_num_threads()) as runtime:
        cases = whole.Cases(calls={TWIN: lambda: runtime(points)})
        yield cases, points


def test_whole_detector_beside_its_twin(with_openvino, packaged):
    """The same boxes first; then every call is a frame, and its clock has that frame's time."""
    cases, points = packaged
    with contextlib.ExitStack() as opened:
        where = (with_openvino.folder, model_folder())
        whole.add_cpp(cases, TWIN, where, points, whole.Limits(1e-3, 1e-4, 0.05), opened)
        assert cases.gate[LABEL] <= 0.05
        times = common.interleaved(
            cases.calls, torch.device("cpu"), 2, warm_up=1, clocks=cases.clocks
        )
        before = cases.clocks[LABEL]()
        cases.calls[TWIN]()
        assert cases.clocks[LABEL]() == before
        cases.calls[LABEL]()
        assert cases.clocks[LABEL]() > before
    assert times.keys() == {TWIN, LABEL}
    # Its frame, not what it takes to ask for one; of as many threads as Python's.
    assert times[LABEL].cpu_ms > 0.1 * times[TWIN].cpu_ms


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("padre2_grid_synthetic", None, "expected the boxes of Python but for 5%, got"),
        ("", 0, "expected [1-9][0-9]* boxes, got 0"),
    ],
)
def test_whole_detector_with_other_boxes(with_openvino, packaged, name, count, message):
    """Of another model, and of a cloud without points."""
    cases, points = packaged
    where, limits = (with_openvino.folder, model_folder(name)), whole.Limits(1e-3, 1e-4, 0.05)
    opened = contextlib.ExitStack()
    with opened, pytest.raises(common.GateError, match=f"{re.escape(LABEL)}: {message}"):
        whole.add_cpp(cases, TWIN, where, points[:count], limits, opened)
    assert cases.calls.keys() == {TWIN}


def test_whole_detector_that_does_not_start(with_openvino, packaged, tmp_path, capsys):
    """The row is left out with the program's words, and the others are measured."""
    cases, points = packaged
    with contextlib.ExitStack() as opened:
        where = (with_openvino.folder, tmp_path / "nowhere")
        whole.add_cpp(cases, TWIN, where, points, whole.LIMITS["fp32"], opened)
    assert cases.calls.keys() == {TWIN}
    assert "padre3d_test_tool: error: " in cases.left_out[LABEL]
    assert "found no manifest.json in it" in cases.left_out[LABEL]
    assert capsys.readouterr().err == f"left out: {LABEL}: {cases.left_out[LABEL]}\n"


def test_a_build_without_the_tool(tmp_path, capsys):
    with pytest.raises(SystemExit):
        whole.main(["--device", "cpu", "--build", str(tmp_path)])
    assert (
        f"--build: expected {cpp_process.TOOL} in {tmp_path}: make cpp" in capsys.readouterr().err
    )


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_whole_detectors_in_one_run_with_cpp(with_openvino, tmp_path, monkeypatch):
    """Both exports of a detector have their row in C++, in the table too."""
    pytest.importorskip("onnxscript")
    from benchmarks import clouds, detector

    grid = PillarGrid((-4.8, -4.8, -5, 4.8, 4.8, 3), (0.3, 0.3))
    monkeypatch.setattr(detector, "TINY_GRID", grid)
    monkeypatch.setattr(whole, "EXPORTED", {"PADRe-2": whole.EXPORTED["fast"]})
    monkeypatch.setattr(whole, "load_cloud", lambda *_: (clouds.synthetic_cloud(1), "one sweep"))
    words = ["--quick", "--device", "cpu", "--backends", "openvino"]
    words += ["--build", str(with_openvino.folder), "--json", str(tmp_path / "cpu" / "whole.json")]
    whole.main(words)
    (result,) = report.load(tmp_path)
    twins = {f"PADRe-2, {precision}, openvino" for precision in whole.LIMITS}
    rows = {f"{twin}, C++" for twin in twins}
    assert twins | rows < result["times"].keys()
    assert result["gate"].keys() == rows | {whole.PUBLISHED}
    assert result["left_out"] == {}
    assert all(result["times"][row]["runs"] == 3 for row in twins | rows)
    table = tables.whole([result])
    assert all(f"| {row} |" in table for row in rows)
