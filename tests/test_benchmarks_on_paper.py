"""The roofline on paper: counts of known operators, bounds by hand, and the tables."""

import json

import pytest
import torch
from torch import nn

pytest.importorskip("mmdet3d")
from small_detector import build, cloud

from benchmarks import paper_tables, roofline
from benchmarks.devices import DEVICES, Device, Figure

TOY = Device(
    "toy",
    {"fp16": Figure(2.0, "here"), "a16w8": Figure(None, "nobody")},
    Figure(100.0, "here"),
    Figure(5.0, "here"),
)
WORK = {
    "gflop": 4.0,
    "launches": 100,
    "weights": 1e6,
    "elements": 2e6,
    "other_bytes": 3e6,
    "all_elements": 50e6,
    "all_other_bytes": 0,
}


def test_operators_are_counted_and_views_are_not():
    layer, x = nn.Linear(8, 4), torch.randn(10, 8)
    index = torch.arange(10)

    def case():
        layer(x).view(5, 8).transpose(0, 1)[None].index_select(2, index[:5])

    with torch.no_grad():
        found = roofline.count(case, (x, index, [None]), 36)
    assert found["gflop"] == 2 * 10 * 8 * 4 / 1e9
    assert found["launches"] == 2  # the product with its bias, the gather
    assert (found["elements"], found["other_bytes"], found["weights"]) == (80, 80, 36)
    assert found["all_elements"] == (4 + 80 + 32 + 40) + (40 + 40)
    assert found["all_other_bytes"] == 5 * 8


def test_bounds_by_hand():
    found = roofline.bounds(WORK, TOY, "fp16")
    assert found["products_ms"] == pytest.approx(2.0)
    assert found["memory_ms"] == pytest.approx((2e6 * 2 + 3e6 + 1e6 * 2) / 100e9 * 1e3)
    assert found["operators_memory_ms"] == pytest.approx(1.0)
    assert found["launches_ms"] == pytest.approx(0.5)
    assert (found["bound_ms"], found["bounded_by"]) == (found["products_ms"], "products")
    assert found["one_by_one_ms"] == pytest.approx(2.0)
    small = roofline.bounds({**WORK, "gflop": 0.01, "launches": 1000}, TOY, "fp16")
    assert (small["bound_ms"], small["bounded_by"]) == (small["memory_ms"], "memory")
    assert small["one_by_one_ms"] == pytest.approx(5.0)


def test_what_is_unknown_bounds_nothing():
    found = roofline.bounds(WORK, TOY, "a16w8")
    assert found["products_ms"] is None
    assert found["bound_ms"] == pytest.approx((2e6 * 2 + 3e6 + 1e6) / 100e9 * 1e3)
    assert found["bounded_by"] == "memory"


def test_every_figure_has_its_source():
    for device in DEVICES.values():
        for name, figure in device.figures().items():
            assert len(figure.source) > 10, name
            assert figure.value is None or figure.value > 0, name


def test_a_detector_on_paper(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(roofline, "build", lambda _: build())
    monkeypatch.setattr(roofline, "load_cloud", lambda *_, quick: (cloud(1500), "1,500 points"))
    path = tmp_path / "roofline.json"
    roofline.main(["tiny.py", "--device", "orin-nx", "--json", str(path)])
    result = json.loads(path.read_text())
    assert result["stages"].keys() == set(roofline.STAGES)
    layers = result["stages"]["layers"]
    # Three maps D x D and a feed-forward network of twice the width: four layers of D = 16.
    products = result["pillars"] * 4 * 2 * (3 * 16**2 + 2 * 16 * 32) / 1e9
    assert products < layers["gflop"] < 1.5 * products
    assert layers["launches"] > 4 * 8
    assert result["devices"].keys() == DEVICES.keys()
    assert result["devices"]["snapdragon-8-gen-3"]["a16w8"].keys() == set(roofline.GRAPH)
    said = capsys.readouterr().out
    assert "| orin-nx | int8 |" in said
    assert "orin-agx" not in said
    every = paper_tables.roofline([result])
    assert "| snapdragon-8-gen-3 | a16w8, T op/s | unknown |" in every
    assert "on the CPU" in every


def test_no_result_no_table():
    assert paper_tables.roofline([]) == paper_tables.window([]) == "No result is stored."


def test_table_of_the_window():
    row = {"attention_error": 0.1, "decoder_error": 0.02, "class_error": 0.003, "centre_m": 0.04}
    result = {
        "benchmark": "window",
        "conditions": {"device_type": "cpu", "threads": 2},
        "config": "c.py",
        "window": 25,
        "rows": [
            {"keep": 25, "score": "caote", **row},
            {"keep": 9, "score": "caote", **row, "nds": 0.3},
            {"keep": 9, "score": "random", **row},
        ],
        "times": {"25/torch": {"median_ms": 12.34}, "9/torch": {"median_ms": 5.0}},
    }
    lines = paper_tables.window([result]).splitlines()[2:]
    head = "| 2 CPU thr. | c.py |"
    assert lines[0] == f"{head} 25 | all | 10.00% | 2.00% | 0.30% | 4 |  | torch 12.3 |"
    assert lines[1] == f"{head} 9 | caote | 10.00% | 2.00% | 0.30% | 4 | 0.3000 | torch 5 |"
    assert lines[2] == f"{head} 9 | random | 10.00% | 2.00% | 0.30% | 4 |  |  |"
