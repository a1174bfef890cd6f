"""Benchmarks on tiny sizes: well-formed results, and a gate that a broken form does not pass."""

import json
import shutil

import pytest
import torch

from benchmarks import backbone, common, mixers, report, training
from padre3d.mixers import build_mixer
from padre3d.ops import chunked
from padre3d.ops.padre import eager
from padre3d.structures.grid import PillarGrid

TINY_GRID = PillarGrid((-4.8, -4.8, -5, 4.8, 4.8, 3), (0.3, 0.3))
CPU = torch.device("cpu")
QUICK = ["--quick", "--device", "cpu", "--repeats", "2", "--json"]


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(common, "product_gflops", lambda device, dtype: 100.0)
    monkeypatch.setattr(common, "copy_gb_per_s", lambda device: 10.0)
    for module in (backbone, training):
        monkeypatch.setattr(module, "SMALL_GRID", TINY_GRID)


def run(module, path, *arguments):
    module.main([*QUICK, str(path), *arguments])
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All results that need torch alone, by benchmark."""
    folder = tmp_path_factory.mktemp("results") / "cpu"
    with pytest.MonkeyPatch.context() as patch:
        for module in (backbone, training):
            patch.setattr(module, "SMALL_GRID", TINY_GRID)
        sizes = ["--tokens", "64", "256", "--dims", "32", "--mixers", "padre2", "sdpa", "attention"]
        return {
            "backbone": run(backbone, folder / "backbone.json"),
            "mixers": run(mixers, folder / "mixers.json", *sizes),
            "training": run(training, folder / "training.json"),
        }


@pytest.fixture
def exported_runtime(tmp_path):
    """A small detector and its export."""
    for name in ("mmdet3d", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    from small_detector import build, cloud

    from padre3d.export.export import export_detector

    detector = build()
    folder = tmp_path / "export"
    export_detector(detector, {"cloud": cloud(1500, 0)}, folder)
    return detector, folder


def test_conditions_say_where_and_with_what(results):
    for name, result in results.items():
        assert result["benchmark"] == name
        found = result["conditions"]
        assert found["torch"] == torch.__version__
        assert found["device"] == common.device_name(CPU)
        assert found["threads"] >= 1
        assert found["product_gflops"] > 0
        assert max(result.get("gate", {"": 0}).values()) < 1e-4


def test_backbone_ratios_are_those_of_its_medians(results):
    result = results["backbone"]
    median = {name: t["median_ms"] for name, t in result["times"].items()}
    assert result["ratio_vs_published"] == pytest.approx(
        median["published"] / median["padre2"], abs=1e-3
    )
    assert result["ratio_vs_sdpa"] == pytest.approx(median["sdpa"] / median["padre2"], abs=1e-3)
    for t in result["times"].values():
        assert 0 < t["min_ms"] <= t["q1_ms"] <= t["median_ms"] <= t["q3_ms"]
    # Two (N, 128) tensors at least, and no more than a few of the sets'.
    tensor_mb = result["pillars"] * 128 * 4 / 1e6
    assert 2 * tensor_mb < result["peak_mb"]["padre2"] < result["peak_mb"]["published"]
    attention = {"published", "published_sdpa"}
    assert result["gate"].keys() == attention | {"padre2", "padre3", "padre2_sets"}
    assert result["ratio_vs_published_sdpa"] == pytest.approx(
        median["published_sdpa"] / median["padre2"], abs=1e-3
    )


def test_roofline_bound_counts_the_products(results):
    result = results["backbone"]
    gflop = {(row["form"], row["stage"]): row["gflop"] for row in result["roofline_bound"]}
    expected = 8 * 3 * 2 * result["pillars"] * 128**2 / 1e9
    assert gflop["padre2", "3 pointwise maps"] == pytest.approx(expected, abs=1e-3)
    assert gflop["both", "feed-forward"] == pytest.approx(expected * 4 / 3, abs=1e-3)


def test_mixers_grow_and_are_compared(results):
    found = results["mixers"]["dims"]["32"]
    assert found["rows"].keys() == {"padre2", "sdpa", "attention"}
    for row in found["rows"].values():
        assert row.keys() == {"64", "256"}
    memory = {name: row["256"]["peak_mb"] for name, row in found["rows"].items()}
    # The logits of 2 heads alone are 256 x 256; PADRe holds a few tensors of 256 x 32.
    assert memory["attention"] > 2 * 256 * 256 * 4 / 1e6 > memory["padre2"]
    median = {name: row["256"]["median_ms"] for name, row in found["rows"].items()}
    ratio = found["ratios"]["attention / padre2"]["256"]
    assert ratio == pytest.approx(median["attention"] / median["padre2"], abs=0.01)


NAMES = sorted(mixers.configs(32, fused=False))


@pytest.mark.parametrize("name", NAMES)
def test_every_mixer_passes_its_gate(name):
    """What would be timed computes what it says, images of the paper's 11 x 11 form included."""
    torch.manual_seed(0)
    mixer = build_mixer(mixers.configs(32)[name], 32).eval()
    with torch.no_grad():
        assert mixers.check(name, mixer, 32, torch.float32, CPU) < 1e-4


@pytest.mark.parametrize("name", filter(mixers.is_image, NAMES))
def test_images_have_as_many_pixels_as_there_are_tokens(name):
    mixer = build_mixer(mixers.configs(32)[name], 32)
    mixers.set_image(mixer, 2304)
    assert mixer.size == (48, 48)
    mixers.set_image(mixer, 512)
    assert mixer.size == (16, 32)


def test_training_step_rates(results):
    result = results["training"]
    steps = result["steps"]
    assert steps.keys() == {"published", "sdpa", "padre2"}
    for t in steps.values():
        assert t["samples_per_s"] == pytest.approx(1e3 / t["median_ms"], rel=0.01, abs=1e-3)
    ratio = steps["padre2"]["peak_mb"] / steps["sdpa"]["peak_mb"]
    assert result["memory_ratio_vs_sdpa"] == pytest.approx(ratio, abs=1e-3)


def test_detector_stages(tmp_path, monkeypatch):
    pytest.importorskip("mmdet3d")
    from benchmarks import clouds, detector

    monkeypatch.setattr(detector, "TINY_GRID", TINY_GRID)
    monkeypatch.setattr(detector, "load_cloud", lambda *_: (clouds.synthetic_cloud(1), "one sweep"))
    result = run(detector, tmp_path / "detector.json")
    for found in result["detectors"].values():
        assert found["stages"].keys() == {*detector.STAGES, "total"}
        total = found["stages"]["total"]["median_ms"]
        assert found["fps"] == pytest.approx(1e3 / total, rel=0.01, abs=1e-3)
        assert found["stages"]["total"]["peak_mb"] > found["stages"]["scatter"]["peak_mb"] > 0
        assert len(found["profile"]) == 10
        convolutions, scatter = (found["stages"][s] for s in ("bev_backbone", "scatter"))
        assert convolutions["bound_ms"] == pytest.approx(convolutions["gflop"] / 100.0 * 1e3)
        assert scatter["gflop"] == 0 < scatter["bound_ms"]
        map_mb = TINY_GRID.num_cells * 128 * 4 / 1e6
        assert map_mb < scatter["mb"] < 2 * map_mb
    alone = run(detector, tmp_path / "operators.json", "--profile-only")
    assert alone["benchmark"] == "operators"
    assert len({entry["name"] for entry in alone["profile"]}) == 10
    whole = tmp_path / "results" / "cpu"
    for each in (result, alone):
        common.write_json("x", each, str(whole / f"{each['benchmark']}.json"), "")
    page = "".join(f"<!-- {name} -->\n<!-- end {name} -->\n" for name in report.MAKERS)
    filled = report.fill(page, report.load(tmp_path / "results"))
    # Which operators take longest differs between machines.
    for each in (*result["detectors"].values(), alone):
        assert all(f"`{entry['name']}`" in filled for entry in each["profile"])


def test_runtime_beside_eager_torch(exported_runtime, tmp_path, monkeypatch):
    from benchmarks import runtime

    detector, folder = exported_runtime
    monkeypatch.setattr(runtime, "init_model", lambda *_: detector)
    files = ["tiny.py", "tiny.pth", str(folder)]
    result = run(runtime, tmp_path / "runtime.json", *files)
    median = {name: t["median_ms"] for name, t in result["times"].items()}
    assert median.keys() == {"eager torch", "onnxruntime", "its pillars", "its orders"}
    ratio = median["eager torch"] / median["onnxruntime"]
    assert result["ratio_vs_eager"] == {"onnxruntime": pytest.approx(ratio, abs=1e-3)}
    with torch.no_grad():
        detector.head.branches["heatmap"][-1].bias += 1.0
    with pytest.raises(common.GateError, match="onnxruntime"):
        run(runtime, tmp_path / "wrong.json", *files)
    assert not (tmp_path / "wrong.json").exists()


def decoder_keys(file):
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(file)).graph
    (attention,) = (node.output[0] for node in graph.node if node.op_type == "Softmax")
    (weights,) = (value for value in graph.value_info if value.name == attention)
    return weights.type.tensor_type.shape.dim[-1].dim_value


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_whole_detectors_in_one_run(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    from benchmarks import clouds, detector, whole

    monkeypatch.setattr(detector, "TINY_GRID", TINY_GRID)
    monkeypatch.setattr(whole, "load_cloud", lambda *_: (clouds.synthetic_cloud(1), "one sweep"))
    monkeypatch.setattr(whole, "BUILD", common.ROOT / "nowhere")
    monkeypatch.setattr(common, "instructions", lambda: ["avx2"])
    options = ["--backends", "onnxruntime", "--work", str(tmp_path / "work")]
    result = run(whole, tmp_path / "results/cpu/whole.json", *options)
    exported = {
        f"{name}, {form}, onnxruntime"
        for name in whole.EXPORTED
        for form in ("fp32", "int8-cpu", "int8-cpu, 225 keys")
    }
    assert exported < result["times"].keys()
    assert result["relative_rms"].keys() == exported
    assert result["left_out"]["C++"] == "expected padre3d_test_tool in nowhere: make cpp"
    assert result["left_out"].keys() == {"C++", "PADRe-2, eager, bfloat16"}
    assert decoder_keys(tmp_path / "work/fast_int8-cpu/model.onnx") == 41**2
    assert decoder_keys(tmp_path / "work/fast_int8-cpu_225/model.onnx") == 225
    published, fast = (result["times"][n] for n in (whole.PUBLISHED, "fast, fp32, onnxruntime"))
    ratio = published["cpu_ms"] / fast["cpu_ms"]
    found = result["cpu_ratio_vs_published"]
    assert found["fast, fp32, onnxruntime"] == pytest.approx(ratio, abs=0.01)
    assert found[whole.PUBLISHED] == 1
    assert "fast, int8-cpu, onnxruntime" in report.MAKERS["whole"](
        report.load(tmp_path / "results")
    )


def test_overhead_beside_another_checkout(tmp_path, repo_root):
    pytest.importorskip("mmdet3d")
    from benchmarks import overhead

    config = str(repo_root / "configs/dsvt_padre2_synthetic.py")
    options = ["--config", config, "--before", str(repo_root)]
    result = run(overhead, tmp_path / "cpu" / "overhead.json", *options)
    names = {f"{part}, {when}" for part in overhead.Parts._fields for when in ("now", "before")}
    assert result["times"].keys() == names
    assert result["gate"] == {"pillars": 0, "boxes": 0}
    page = "".join(f"<!-- {name} -->\n<!-- end {name} -->\n" for name in report.MAKERS)
    assert report.fill(page, report.load(tmp_path)).count("| dsvt_padre2_synthetic.py |") == 8
    other = tmp_path / "other" / "padre3d" / "runtime"
    shutil.copytree(repo_root / "padre3d/runtime", other)
    encoder = other / "pillar_encoder.py"
    encoder.write_text(encoder.read_text().replace("product.max(0) + of_pillar", "of_pillar"))
    options[-1] = str(tmp_path / "other")
    with pytest.raises(common.GateError, match="pillars"):
        run(overhead, tmp_path / "wrong.json", *options)
    with pytest.raises(FileNotFoundError, match="--before: expected"):
        run(overhead, tmp_path / "wrong.json", "--config", config, "--before", str(tmp_path))
    assert not (tmp_path / "wrong.json").exists()


def test_fewer_keys_in_the_decoders_window(tmp_path, monkeypatch):
    for name in ("mmdet3d", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    import numpy as np
    from small_detector import build, cloud

    from benchmarks import window

    monkeypatch.setattr(window, "init_model", lambda *_: build())
    for seed in (0, 1):
        np.save(tmp_path / f"{seed}.npy", cloud(1500, seed).numpy())
    files = ["tiny.py", "tiny.pth", "--points", str(tmp_path / "0.npy")]
    files += ["--calib", str(tmp_path / "1.npy"), "--keep", "9", "3"]
    result = run(window, tmp_path / "window.json", *files)
    assert (result["window"], result["frames"], result["calibration"]) == (25, ["0.npy"], ["1.npy"])
    rows = {(row["keep"], row["score"]): row for row in result["rows"]}
    assert len(rows) == len(result["rows"]) == 1 + 2 * 5
    assert rows[25, "joint"]["decoder_error"] == pytest.approx(0, abs=1e-5)
    for row in result["rows"][1:]:
        errors = (row["attention_error"], row["decoder_error"], row["class_error"])
        assert 1e-5 < min(errors) < max(errors) < 1, row
        assert row["centre_m"] > 0
    names = ("torch", "torch, decoder", "onnxruntime")
    assert result["times"].keys() == {f"{keep}/{name}" for keep in (25, 9, 3) for name in names}
    with pytest.raises(ValueError, match="expected 1..25 offsets of the window, got 26"):
        run(window, tmp_path / "wrong.json", *files[:4], "--keep", "26")


def test_gate_stops_a_wrong_block_of_rows(monkeypatch, tmp_path):
    plain = chunked.map_rows
    monkeypatch.setattr(chunked, "map_rows", lambda *args: plain(*args) * 1.01)
    with pytest.raises(common.GateError, match="relative error"):
        run(backbone, tmp_path / "backbone.json")
    assert not list(tmp_path.iterdir())


def test_gate_stops_a_wrong_baseline(monkeypatch, tmp_path):
    from benchmarks import published

    monkeypatch.setattr(
        published, "_embed", lambda _, window_index: torch.zeros(len(window_index), 128)
    )
    with pytest.raises(common.GateError, match="published"):
        run(backbone, tmp_path / "backbone.json")


def test_gate_stops_a_wrong_mixer(monkeypatch, tmp_path):
    plain = eager.mix_channels
    monkeypatch.setattr(eager, "mix_channels", lambda x, m: plain(x, m) * 1.001)
    with pytest.raises(common.GateError, match="padre2"):
        run(mixers, tmp_path / "mixers.json", "--mixers", "padre2", "--dims", "32")


def test_report_fills_tables_and_draws(results, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    for name, result in results.items():
        common.write_json(name, result, str(tmp_path / "results" / "cpu" / f"{name}.json"), "")
    page = tmp_path / "page.md"
    empty = "".join(f"<!-- {name} -->\nold\n<!-- end {name} -->\n" for name in report.MAKERS)
    page.write_text(empty)
    monkeypatch.setattr(report, "PAGE", page)
    arguments = ["--results", str(tmp_path / "results")]
    assert report.main([*arguments, "--check"]) == 1
    report.main(arguments)
    text = page.read_text()
    assert "old" not in text
    memory = results["backbone"]["peak_mb"]["published"]
    assert f"| {memory:.0f} | 1.00 |" in text
    assert report.main([*arguments, "--check"]) == 0
    drawn = {p.stem for p in (tmp_path / "results" / "cpu").glob("*.png")}
    assert drawn == results.keys()


def test_page_needs_a_place_for_every_table():
    with pytest.raises(ValueError, match="conditions"):
        report.fill("nothing here", [])


def test_tables_of_the_page_are_those_of_the_results():
    assert report.main(["--check"]) == 0
