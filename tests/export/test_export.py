"""The exported file: torch's values, portable operators, and no file without parity."""

import json

import numpy as np
import pytest
import small_detector
import torch
from same_outputs import assert_close_to_largest

from padre3d.export.graph import DetectorGraph, frame_inputs
from padre3d.head.outputs import HeadOutputs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

from padre3d.export import export  # noqa: E402
from padre3d.export.onnx_model import check_operators  # noqa: E402
from padre3d.runtime.folder import sha256  # noqa: E402
from padre3d.runtime.manifest import read_manifest  # noqa: E402


def test_values_are_those_of_torch_at_two_numbers_of_pillars(exported):
    manifest, results = exported.manifest, exported.comparisons
    assert len({r.pillars for r in results}) == 2
    for result in results:
        assert result.lost == 0
        assert result.matched >= 39
        assert result.worst < 1e-4
        assert result.worst_relative < 1e-4
        assert result.centre_m < 1e-3
    assert manifest["parity"]["max_abs_err"] == max(r.worst for r in results)


def test_manifest_describes_the_files(exported_padre):
    folder, manifest = exported_padre.folder, exported_padre.manifest
    written = json.loads((folder / "manifest.json").read_text())
    assert written == json.loads(json.dumps(manifest))
    read = read_manifest(folder)
    assert (read.format, read.layout, read.set_size) == (3, "sequence", None)
    assert list(read.classes) == manifest["classes"]
    assert read.decode == exported_padre.detector.head.decode_settings
    assert read.parity == written["parity"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "model.onnx",
        "tables.npz",
    ]
    assert manifest["sha256"]["model.onnx"] == sha256(folder / "model.onnx")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    (part,) = manifest["models"][0]["parts"]
    assert [i["name"] for i in part["inputs"]] == [i.name for i in session.get_inputs()]
    assert [o["name"] for o in part["outputs"]] == list(HeadOutputs._fields)
    shapes = {o["name"]: o["shape"] for o in part["outputs"]}
    assert shapes["center"] == [1, 40, 2]
    assert shapes["dense_heatmap"] == [1, 10, 18, 18]
    assert part["inputs"][0]["shape"] == ["pillars", 16]
    assert manifest["config"] == "small.py"
    assert tuple(manifest["grid"]["cell_m"]) == (0.6, 0.6)
    assert b"/padre3d/" not in (folder / "model.onnx").read_bytes()


def test_batch_norms_are_folded(exported_padre):
    """Behind a Gemm or Conv no constant per channel is left."""
    graph = onnx.load(str(exported_padre.folder / "model.onnx")).graph
    producer = {name: node.op_type for node in graph.node for name in node.output}
    sizes = {t.name: int(np.prod(t.dims)) for t in graph.initializer}
    left = [
        node.name
        for node in graph.node
        if node.op_type in ("Mul", "Add", "BatchNormalization")
        and {producer.get(name) for name in node.input} & {"Gemm", "Conv"}
        and any(sizes.get(name, 0) in (16, 32) for name in node.input)
    ]
    assert left == []


def test_fixed_number_of_pillars_is_exact():
    """The padding influences nothing, whatever its features hold."""
    detector = small_detector.build()
    cloud = small_detector.cloud(800)
    graph = DetectorGraph(detector)
    with torch.no_grad():
        pillars = detector.pillar_encoder([cloud])
        padded, plain = frame_inputs(graph, pillars, 700), frame_inputs(graph, pillars)
        count = len(pillars.coords)
        padded["features"][count:] = 1e3
        expected, actual = graph(**plain), graph(**padded)
    assert_close_to_largest(actual.dense_heatmap, expected.dense_heatmap)
    padded["valid"][:] = True
    with torch.no_grad():
        assert (graph(**padded).dense_heatmap - expected.dense_heatmap).abs().max() > 1e-4
    with pytest.raises(ValueError, match=rf"1 to 100 pillars, got 1 samples and {count}"):
        frame_inputs(graph, pillars, 100)


@pytest.mark.parametrize("name", ["attention", "padre on sets"])
def test_fixed_number_of_pillars_is_exact_on_sets(name):
    detector = small_detector.build(**small_detector.MIXERS[name])
    graph = DetectorGraph(detector)
    with torch.no_grad():
        pillars = detector.pillar_encoder([small_detector.cloud(800)])
        padded, plain = frame_inputs(graph, pillars, 700), frame_inputs(graph, pillars)
        assert padded["index"].shape[1] > plain["index"].shape[1]
        actual, expected = graph(**padded), graph(**plain)
    assert_close_to_largest(actual.dense_heatmap, expected.dense_heatmap)


@pytest.mark.parametrize("name", ["grid", "grid and sequence", "grid with blocks"])
def test_fixed_number_of_pillars_is_exact_on_the_grid(name):
    """Padding has a cell to read, but no cell of the map has the padding."""
    detector = small_detector.build(**small_detector.MIXERS[name])
    graph = DetectorGraph(detector)
    with torch.no_grad():
        pillars = detector.pillar_encoder([small_detector.cloud(800)])
        padded, plain = frame_inputs(graph, pillars, 700), frame_inputs(graph, pillars)
        expected = graph(**plain).dense_heatmap
        eager = detector.backbone(pillars).features
        torch.testing.assert_close(graph.mix(**mixed(plain)), eager)
        padded["features"][len(pillars.coords) :] = 1e3
        assert (graph(**padded).dense_heatmap - expected).abs().max() < 1e-6
        padded["cell_to_pillar"][padded["cell_to_pillar"] == 0] = 700
        assert (graph(**padded).dense_heatmap - expected).abs().max() > 1e-4


def mixed(inputs):
    """The backbone's inputs by the names of ``mix``."""
    names = ("features", "index", "slot", "window_index", "valid", "cells", "cell_to_pillar")
    return {name: inputs.get(name) for name in names}


def test_the_grid_needs_no_orders_and_no_windows(exported_grid):
    """Nothing but features, the map, and each pillar's cell; both ways of it by plain gathers."""
    folder = exported_grid.folder
    names = [value["name"] for value in exported_grid.manifest["models"][0]["parts"][0]["inputs"]]
    assert names == ["features", "cell_to_pillar", "cells"]
    graph = onnx.load(str(folder / "model.onnx")).graph
    kernels = {t.name: tuple(t.dims) for t in graph.initializer}
    convs = [n for n in graph.node if n.op_type == "Conv" and "backbone.blocks" in n.name]
    assert [kernels[n.input[1]] for n in convs] == [(16, 1, 3, 3)] * 4
    producer = {name: node for node in graph.node for name in node.output}
    assert not [n for n in graph.node if n.op_type == "Add" and producer.get(n.input[0]) in convs]
    with np.load(folder / "tables.npz") as tables:
        assert tables["cells"].shape == (0, exported_grid.detector.grid.num_cells)


def test_parts_with_the_grid(tmp_path):
    detector = small_detector.build(**small_detector.MIXERS["grid and sequence"])
    config = export.ExportConfig(parts="backbone,dense")
    frame = {"frame": small_detector.cloud(700)}
    manifest, results = export.export_detector(detector, frame, tmp_path / "out", config)
    assert max(result.worst for result in results) < 1e-4
    backbone, dense = manifest["models"][0]["parts"]
    assert [value["name"] for value in backbone["inputs"]] == [
        *("features", "index", "slot", "window_index", "cell_to_pillar", "cells")
    ]
    assert [value["name"] for value in dense["inputs"]] == ["backbone_features", "cell_to_pillar"]


def test_parts_give_the_whole(masked_parts):
    """Two files, compared with torch as one; each names what it takes and gives."""
    manifest, results = masked_parts.manifest, masked_parts.comparisons
    assert max(result.worst for result in results) < 1e-4
    backbone, dense = manifest["models"][0]["parts"]
    assert (backbone["file"], dense["file"]) == ("backbone.onnx", "dense.onnx")
    assert [i["name"] for i in backbone["inputs"]] == [
        "features",
        "index",
        "slot",
        "window_index",
        "valid",
    ]
    assert [o["name"] for o in backbone["outputs"]] == ["backbone_features"]
    assert [i["name"] for i in dense["inputs"]] == ["backbone_features", "cell_to_pillar"]


def test_foreign_operators_are_refused(exported_padre):
    model = onnx.load(str(exported_padre.folder / "model.onnx"))
    check_operators(model)
    node = next(n for n in model.graph.node if n.op_type == "Relu")
    node.op_type = "NonZero"
    with pytest.raises(ValueError, match=r"portable set only, got \['NonZero'\]"):
        check_operators(model)
    node.op_type, node.domain = "Relu", "com.example"
    with pytest.raises(ValueError, match=r"\['com.example.Relu'\]"):
        check_operators(model)
    node.domain = ""
    body = onnx.helper.make_graph([onnx.helper.make_node("Unique", ["a"], ["b"])], "body", [], [])
    node.attribute.append(onnx.helper.make_attribute("body", body))
    with pytest.raises(ValueError, match=r"\['Unique'\]"):
        check_operators(model)


def test_too_many_proposals_are_refused(exported_padre):
    model = onnx.load(str(exported_padre.folder / "model.onnx"))
    topk = next(n for n in model.graph.node if n.op_type == "TopK")
    constant = next(t for t in model.graph.initializer if t.name == topk.input[1])
    constant.CopyFrom(onnx.numpy_helper.from_array(np.array([3841]), constant.name))
    with pytest.raises(ValueError, match="TopK of at most 3840, got 3841"):
        check_operators(model)


def test_no_file_without_parity(exported_padre, tmp_path, monkeypatch):
    """A file with one wrong weight is found out, and what was there before stays."""
    detector, cloud, folder = exported_padre.detector, exported_padre.cloud, exported_padre.folder

    def write_wrong(graph, inputs, path, fixed):
        model = onnx.load(str(folder / "model.onnx"))
        name = next(n.input[2] for n in model.graph.node if "blocks.0.layers.0.linear1" in n.name)
        bias = next(t for t in model.graph.initializer if t.name == name)
        values = onnx.numpy_helper.to_array(bias) + np.float32(1)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, name))
        onnx.save(model, str(path))

    monkeypatch.setattr(export, "export_graph", write_wrong)
    out = tmp_path / "out"
    with pytest.raises(export.ParityError, match="nothing was kept") as caught:
        export.export_detector(detector, {"frame": torch.from_numpy(cloud)}, out)
    assert caught.value.results[0].errors["dense_heatmap"] > 1e-3
    assert list(tmp_path.iterdir()) == []


def test_local_descriptor_is_refused():
    detector = small_detector.build()
    detector.backbone.local_descriptor = torch.nn.Identity()
    with pytest.raises(ValueError, match="local_descriptor=None"):
        DetectorGraph(detector)


@pytest.fixture
def no_work(monkeypatch):
    """Whatever an export begins with is an error."""

    def fail(*_):
        raise AssertionError("work was begun")

    monkeypatch.setattr(export, "Exporter", fail)


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_export_removes_nothing_outside(exported_padre, tmp_path, no_work):
    """An old manifest that names other files is refused before any work, and all is as it was."""
    detector, manifest = exported_padre.detector, exported_padre.manifest
    victim, out = tmp_path / "victim.txt", tmp_path / "out"
    victim.write_text("mine")
    out.mkdir()
    (out / "model.onnx").write_bytes(b"old")
    clouds = {"frame": torch.from_numpy(exported_padre.cloud)}
    for name in ("../victim.txt", str(victim)):
        old = {**manifest, "sha256": {**manifest["sha256"], name: "0" * 64}}
        (out / "manifest.json").write_text(json.dumps(old))
        before = contents(tmp_path)
        with pytest.raises(ValueError, match="manifest.json: .*plain name of a file") as caught:
            export.export_detector(detector, clouds, out)
        assert str(out / "manifest.json") in str(caught.value)
        assert contents(tmp_path) == before
    for text, message in (
        ("{", "expected JSON"),
        ('{"format": 1}', "expected a manifest of format 2 or 3, got 1"),
    ):
        (out / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            export.export_detector(detector, clouds, out)
    with pytest.raises(ValueError, match="victim.txt: expected a folder or nothing, got a file"):
        export.export_detector(detector, clouds, victim)
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "model.onnx").unlink()
    (out / "model.onnx").mkdir()
    with pytest.raises(ValueError, match="model.onnx: expected a file, got a folder"):
        export.export_detector(detector, clouds, out)


def test_replacing_files(exported_padre, tmp_path):
    """What the old manifest lists and the new one does not goes; a link goes, not its target."""
    out, made, victim = (tmp_path / name for name in ("out", "made", "victim.txt"))
    for folder in (out, made):
        folder.mkdir()
    victim.write_text("mine")
    for name in ("model.onnx", "old.onnx", "notes.txt", "manifest.json"):
        (out / name).write_text("old")
    (out / "tables.npz").symlink_to(victim)
    for name in ("model.onnx", "tables.npz", "manifest.json"):
        (made / name).write_text("new")
    export._replace(made, out, frozenset({"model.onnx", "old.onnx", "tables.npz"}))
    assert {p.name: p.read_text() for p in out.iterdir()} == {
        **dict.fromkeys(("model.onnx", "tables.npz", "manifest.json"), "new"),
        "notes.txt": "old",
    }
    assert victim.read_text() == "mine"
    (made / "model.onnx").write_text("newer")
    (out / "model.onnx").unlink()
    (out / "model.onnx").mkdir()
    with pytest.raises(ValueError, match="model.onnx: expected a file or nothing, got a folder"):
        export._replace(made, out, frozenset())
    assert (out / "manifest.json").read_text() == "new"


def test_a_cloud_is_encoded_once(tmp_path, monkeypatch):
    """Two sizes in two parts, the traced cloud is also one to calibrate with."""
    detector = small_detector.build()
    first, second = (small_detector.cloud(60, seed) for seed in (0, 1))
    encoded, answered = [], []
    detector.pillar_encoder.register_forward_hook(lambda *_: encoded.append(1))
    detector.head.register_forward_hook(lambda *_: answered.append(1))
    monkeypatch.setattr(export, "export_graph", lambda *_: None)
    monkeypatch.setattr(export, "convert", lambda *_: [])
    monkeypatch.setattr(export, "describe_model", lambda _: {})
    config = export.ExportConfig(sizes=(60, 200), parts="backbone,dense")
    exporter = export.Exporter(detector, config, tmp_path)
    for size in config.sizes:
        exporter.write(first, [first, second], size)
        for cloud in (first, second):
            with torch.no_grad():
                expected = detector.forward_pillars(exporter.pillars(cloud))
            torch.testing.assert_close(exporter.expected(cloud), expected)
    assert len(encoded) == 2
    assert len(answered) == 4 + 2
