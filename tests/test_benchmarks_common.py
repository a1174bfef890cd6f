"""What all benchmarks share: gates, turns, timing, conditions, tables."""

import argparse
import json

import pytest
import torch

from benchmarks import common, tables
from benchmarks.clouds import GRID, pillars_of, synthetic_cloud

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    monkeypatch.setattr(common, "product_gflops", lambda device, dtype: 100.0)
    monkeypatch.setattr(common, "copy_gb_per_s", lambda device: 10.0)


def test_gate():
    value = torch.tensor([1.0, -2.0])
    assert common.gate("same", value, value, 0.0) == 0
    assert common.gate("close", value + 0.02, value, 0.011) == pytest.approx(0.01, rel=1e-4)
    for broken in (value + 0.1, value * float("nan"), value[:1]):
        with pytest.raises(common.GateError, match="broken"):
            common.gate("broken", broken, value, 0.011)


def test_runs_are_interleaved():
    calls = []
    cases = {name: lambda n=name: calls.append(n) for name in "abc"}
    times = common.interleaved(cases, CPU, repeats=3, warm_up=1)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert times.keys() == {"a", "b", "c"}
    assert times["a"].runs == 3


def test_the_processor_time_of_another_process_has_its_own_clock():
    spent = {"here": 0.0, "there": 0.0}

    def there():
        spent["there"] += 0.5

    times = common.interleaved(
        {"here": lambda: None, "there": there}, CPU, 3, clocks={"there": lambda: spent["there"]}
    )
    assert times["there"].cpu_ms == 500
    assert times["here"].cpu_ms < 100


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx avx2 fma", ["avx2"]),
        ("avx2 avx_vnni", ["avx2", "vnni"]),
        ("avx2 avx512f avx512_vnni avx512_bf16", ["avx512", "vnni", "bf16"]),
        ("avx2 avx512f avx512_vnni amx_bf16 amx_tile", ["avx512", "vnni", "bf16", "amx"]),
        ("fpu sse2", []),
    ],
)
def test_processors_of_one_name_have_folders_of_their_own(monkeypatch, tmp_path, flags, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(2 * f"model name\t: Some CPU\nvmx flags\t: amx_tile\nflags\t\t: {flags}\n\n")
    monkeypatch.setattr(common, "CPU_INFO", info)
    assert common.instructions() == expected
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert common.device_folder(CPU) == "-".join(["some-cpu", *expected, "2-threads"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert common.device_folder(CPU) == "-".join(["some-cpu", *expected, "1-thread"])
    assert common.conditions(CPU, torch.float32)["instructions"] == expected
    info.unlink()
    assert common.instructions() == []


def whole_result(folder, instructions, left_out):
    """What whole.py would write, of one form."""
    t = dict(median_ms=2.0, q1_ms=1.0, q3_ms=3.0, min_ms=1.0, cpu_ms=2.0, runs=5)
    conditions = dict(device="Some CPU", device_type="cpu", threads=1, cores=2)
    if instructions:
        conditions["instructions"] = instructions
    return dict(
        benchmark="whole",
        folder=folder,
        file="whole.json",
        conditions=conditions,
        times={"form": t},
        relative_rms={},
        left_out=left_out,
        ratio_vs_published={"form": 1.0},
        cpu_ratio_vs_published={"form": 1.0},
    )


def test_tables_of_two_processors_say_what_each_can_do():
    results = [
        whole_result("old", [], {}),
        whole_result("one", ["avx512", "vnni"], {}),
        whole_result("other", ["avx2"], {"C++": "expected a build", "bf16": "no bfloat16"}),
    ]
    parts = tables.whole(results).split("\n\n")
    assert [part for part in parts if not part.startswith("|")] == [
        "Some CPU (instructions not recorded), 1 of 2 threads, `old/whole.json`:",
        "Some CPU (avx512, vnni), 1 of 2 threads, `one/whole.json`:",
        "Some CPU (avx2), 1 of 2 threads, `other/whole.json`:",
        "Left out: C++ (expected a build); bf16 (no bfloat16).",
    ]
    assert [part.startswith("|") for part in parts] == [False, True] * 3 + [False]
    assert tables.device(results[2]) == "1 CPU thr., avx2"
    assert tables.device(results[0]) == "1 CPU thr."
    assert tables.whole([]) == "No result is stored."


def test_timing_has_median_and_quartiles():
    t = common.timing([4.0, 1.0, 2.0, 3.0, 100.0], [7.0, 9.0, 1.0, 8.0, 8.5])
    assert (t.min_ms, t.q1_ms, t.median_ms, t.q3_ms, t.cpu_ms) == (1, 2, 3, 4, 8)


def test_peak_memory_on_a_cpu_is_what_is_alive_at_once():
    def case():
        for _ in range(3):
            a = torch.empty(1_000_000)
            b = torch.empty(500_000)
            del a, b

    assert common.peak_mb(case, CPU) == pytest.approx(6.0, rel=0.01)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_growth_exponent(power):
    sizes = [256, 1024, 4096]
    assert common.growth_exponent(sizes, [3 * n**power for n in sizes]) == pytest.approx(power)
    assert common.growth_exponent([1], [1]) is None


def test_json_to_standard_output_and_in_one_step(capsys, tmp_path):
    common.write_json("x", {"a": 1}, "-", "cpu")
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    common.write_json("x", {"a": 2}, str(tmp_path / "new" / "x.json"), "cpu")
    assert json.loads((tmp_path / "new" / "x.json").read_text()) == {"a": 2}
    with pytest.raises(TypeError):
        common.write_json("x", {"a": object()}, str(tmp_path / "new" / "x.json"), "cpu")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.json"]


def test_synthetic_cloud_is_as_full_as_a_real_frame():
    """The real ten-sweep frame: 271,156 points, 17,868 pillars."""
    cloud = synthetic_cloud()
    assert 200_000 < len(cloud) < 400_000
    assert 12_000 < len(pillars_of(cloud, GRID, 4, CPU).coords) < 24_000
    assert torch.equal(cloud, synthetic_cloud())


def test_options_are_applied():
    args = common.parser(None).parse_args(["--quick", "--dtype", "bfloat16", "--device", "cpu"])
    assert isinstance(args, argparse.Namespace)
    assert common.setup(args) == (CPU, torch.bfloat16)
    assert args.repeats == 3
