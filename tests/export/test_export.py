"""The exported file: torch's values, portable operators, and no file without parity."""

import json

import numpy as np
import pytest
import torch
from tiny_detector import MIXERS, build_detector, make_cloud

from padre3d.export.graph import DetectorGraph, frame_inputs
from padre3d.head.outputs import HeadOutputs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

from padre3d.export import export  # noqa: E402
from padre3d.export.onnx_model import check_operators  # noqa: E402
from padre3d.runtime.manifest import read_manifest, sha256  # noqa: E402


def test_values_are_those_of_torch_at_two_numbers_of_pillars(exported):
    _, _, _, manifest, results = exported
    assert len({r.pillars for r in results}) == 2
    for result in results:
        assert result.lost == 0
        assert result.matched >= 39
        assert result.worst < 1e-4
        assert result.worst_relative < 1e-4
        assert result.centre_m < 1e-3
    assert manifest["parity"]["max_abs_err"] == max(r.worst for r in results)


def test_manifest_describes_the_files(exported_padre):
    _, _, folder, manifest, _ = exported_padre
    assert read_manifest(folder) == json.loads(json.dumps(manifest))
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
    assert shapes["dense_heatmap"] == [1, 10, 16, 16]
    assert part["inputs"][0]["shape"] == ["pillars", 32]
    assert manifest["config"] == "tiny.py"
    assert tuple(manifest["grid"]["cell_m"]) == (0.6, 0.6)
    assert b"/padre3d/" not in (folder / "model.onnx").read_bytes()


def test_batch_norms_are_folded(exported_padre):
    """Behind a Gemm or Conv no constant per channel is left."""
    graph = onnx.load(str(exported_padre[2] / "model.onnx")).graph
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
    detector = build_detector(MIXERS["padre"])
    cloud = torch.from_numpy(make_cloud(800))
    graph = DetectorGraph(detector)
    with torch.no_grad():
        pillars = detector.pillar_encoder([cloud])
        padded, plain = frame_inputs(graph, pillars, 700), frame_inputs(graph, pillars)
        count = len(pillars.coords)
        padded["features"][count:] = 1e3
        expected, found = graph(**plain), graph(**padded)
    assert (found.dense_heatmap - expected.dense_heatmap).abs().max() < 1e-6
    padded["valid"][:] = True
    with torch.no_grad():
        assert (graph(**padded).dense_heatmap - expected.dense_heatmap).abs().max() > 1e-4
    with pytest.raises(ValueError, match=rf"1 to 100 pillars, got 1 samples and {count}"):
        frame_inputs(graph, pillars, 100)


@pytest.mark.parametrize("name", ["attention", "padre on sets"])
def test_fixed_number_of_pillars_is_exact_on_sets(name):
    detector = build_detector(MIXERS[name])
    graph = DetectorGraph(detector)
    with torch.no_grad():
        pillars = detector.pillar_encoder([torch.from_numpy(make_cloud(800))])
        padded, plain = frame_inputs(graph, pillars, 700), frame_inputs(graph, pillars)
        assert padded["index"].shape[1] > plain["index"].shape[1]
        assert (graph(**padded).dense_heatmap - graph(**plain).dense_heatmap).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["grid", "grid and sequence"])
def test_fixed_number_of_pillars_is_exact_on_the_grid(name):
    """Padding has a cell to read, but no cell of the map has the padding."""
    detector = build_detector(MIXERS[name])
    graph = DetectorGraph(detector)
    with torch.no_grad():
        pillars = detector.pillar_encoder([torch.from_numpy(make_cloud(800))])
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
    detector, _, folder, manifest, _ = exported_grid
    names = [value["name"] for value in manifest["models"][0]["parts"][0]["inputs"]]
    assert names == ["features", "cell_to_pillar", "cells"]
    graph = onnx.load(str(folder / "model.onnx")).graph
    kernels = {t.name: tuple(t.dims) for t in graph.initializer}
    convs = [n for n in graph.node if n.op_type == "Conv" and "backbone.blocks" in n.name]
    assert [kernels[n.input[1]] for n in convs] == [(32, 1, 3, 3)] * 4
    producer = {name: node for node in graph.node for name in node.output}
    assert not [n for n in graph.node if n.op_type == "Add" and producer.get(n.input[0]) in convs]
    with np.load(folder / "tables.npz") as tables:
        assert tables["cells"].shape == (0, detector.grid.num_cells)


def test_parts_with_the_grid(tmp_path):
    detector = build_detector(MIXERS["grid and sequence"])
    config = export.ExportConfig(parts="backbone,dense")
    frame = {"frame": torch.from_numpy(make_cloud(700))}
    manifest, results = export.export_detector(detector, frame, tmp_path / "out", config)
    assert max(result.worst for result in results) < 1e-4
    backbone, dense = manifest["models"][0]["parts"]
    assert [value["name"] for value in backbone["inputs"]] == [
        *("features", "index", "slot", "window_index", "cell_to_pillar", "cells")
    ]
    assert [value["name"] for value in dense["inputs"]] == ["backbone_features", "cell_to_pillar"]


def test_parts_give_the_whole(masked_parts):
    """Two files, compared with torch as one; each names what it takes and gives."""
    _, _, _, manifest, results = masked_parts
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
    model = onnx.load(str(exported_padre[2] / "model.onnx"))
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
    model = onnx.load(str(exported_padre[2] / "model.onnx"))
    topk = next(n for n in model.graph.node if n.op_type == "TopK")
    constant = next(t for t in model.graph.initializer if t.name == topk.input[1])
    constant.CopyFrom(onnx.numpy_helper.from_array(np.array([3841]), constant.name))
    with pytest.raises(ValueError, match="TopK of at most 3840, got 3841"):
        check_operators(model)


def test_no_file_without_parity(exported_padre, tmp_path, monkeypatch):
    """A file with one wrong weight is found out, and what was there before stays."""
    detector, cloud, folder, _, _ = exported_padre

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
    detector = build_detector(MIXERS["padre"])
    detector.backbone.local_descriptor = torch.nn.Identity()
    with pytest.raises(ValueError, match="local_descriptor=None"):
        DetectorGraph(detector)
