"""16 and 8 bit: values, types in the file, which layers lose, and what is refused."""

import shutil
import sys

import numpy as np
import pytest
import small_detector
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from padre3d.deploy import Runtime  # noqa: E402
from padre3d.export import export  # noqa: E402
from padre3d.export.quantize import BETWEEN_MAPS, OWN_LIMIT, QUANTISED  # noqa: E402

CALIBRATION = [small_detector.cloud(500, seed) for seed in range(2)]
HALF, FLOAT = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def export_as(precision, folder, detector=None, **settings):
    detector = detector or small_detector.build()
    clouds = {"frame": small_detector.cloud(600, seed=9)}
    config = export.ExportConfig(precision, **settings)
    manifest, results = export.export_detector(detector, clouds, folder, config, CALIBRATION)
    return manifest, results, onnx.load(str(folder / "model.onnx"))


def types_of(model):
    """Element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    return {**types, **{t.name: t.data_type for t in graph.initializer}}


@pytest.fixture
def copied(exported_padre, monkeypatch):
    """The detector and cloud of an export whose fp32 graph is written again without tracing."""
    detector, cloud, folder = exported_padre.detector, exported_padre.cloud, exported_padre.folder

    def copy(graph, inputs, path, fixed):
        shutil.copy(folder / "model.onnx", path)

    monkeypatch.setattr(export, "export_graph", copy)
    return detector, torch.from_numpy(cloud)


def test_half_precision(copied, tmp_path):
    detector, cloud = copied
    manifest, results = export.export_detector(
        detector, {"frame": cloud}, tmp_path / "out", export.ExportConfig("fp16")
    )
    model = onnx.load(str(tmp_path / "out/model.onnx"))
    assert 1e-5 < manifest["parity"]["max_relative_rms"] < 0.02
    assert all(result.matched >= 36 for result in results)
    types = types_of(model)
    inside = dict.fromkeys(("Conv", "Gemm", "MatMul", "Gelu"), HALF)
    inside.update(dict.fromkeys(("LayerNormalization", "Softmax", "Sigmoid", "TopK"), FLOAT))
    checked = [node for node in model.graph.node if node.op_type in inside]
    assert {node.op_type for node in checked} >= {"Gemm", "LayerNormalization", "TopK"}
    for node in checked:
        floats = {types[n] for n in node.input if types.get(n) in (HALF, FLOAT)}
        assert floats == {inside[node.op_type]}, node.name
    assert {types[v.name] for v in model.graph.output} == {FLOAT, onnx.TensorProto.INT64}
    (center,) = (n for n in model.graph.node if "center" in n.output)
    assert center.op_type == "Add"
    detections = Runtime(tmp_path / "out")(cloud.numpy())
    assert len(detections.scores) > 20


def detector_with_an_outlier():
    """What enters one layer has a channel beside whose range 8 bits hold nothing of the others."""
    detector = small_detector.build()
    layer = detector.backbone.blocks[1].layers[0]
    with torch.no_grad():
        layer.norm1.weight[3] = 300.0
        layer.norm1.bias[3] = 0.0
        layer.linear1.weight[:, 3] = 1e-4
    return detector


def test_eight_bit_for_tensorrt(tmp_path):
    """One layer gets an outlier that 8 bits cannot hold: it is named, and stays in 16 bit."""
    detector = detector_with_an_outlier()
    manifest, _, model = export_as("int8-trt", tmp_path / "out", detector, tolerance=1.0)
    errors = manifest["layer_errors"]
    assert [e["own"] for e in errors] == sorted((e["own"] for e in errors), reverse=True)
    assert "blocks.1.layers.0.linear1" in errors[0]["layer"]
    assert errors[0]["own"] > 0.2
    for error in errors:
        wide = error["own"] > OWN_LIMIT and error["operator"] in QUANTISED
        assert error["bits"] == (16 if wide else 8), error
    assert sum(e["bits"] == 8 for e in errors) > 20
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    rounding = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in rounding:
        assert not constants[node.input[2]].any(), "TensorRT takes symmetric ranges only"
        assert constants[node.input[2]].dtype == np.int8
    types = types_of(model)
    rounded = {n.output[0] for n in rounding if n.op_type == "DequantizeLinear"}
    products = [node for node in model.graph.node if node.op_type in ("Gemm", "Conv")]
    assert len(products) > 20
    for node in products:
        floats = {types[n] for n in node.input if n}
        assert floats == {FLOAT if rounded & set(node.input) else HALF}, node.name


def test_eight_bit_for_cpus(tmp_path):
    """Unsigned activations, signed weights per channel; nothing of the 3-D backbone's sums."""
    detector = detector_with_an_outlier()
    manifest, _, model = export_as("int8-cpu", tmp_path / "out", detector, tolerance=1.0)
    errors = {e["layer"]: e for e in manifest["layer_errors"]}
    assert {e["bits"] for e in errors.values()} == {8, 32}
    for error in errors.values():
        wide = error["own"] > OWN_LIMIT and error["operator"] in (*QUANTISED, *BETWEEN_MAPS)
        assert error["bits"] == (32 if wide else 8), error
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    (wide,) = (name for name in errors if "blocks.1.layers.0.linear1" in name)
    assert errors[wide]["bits"] == 32
    rounded = {}
    for node in model.graph.node:
        sources = [makers[n] for n in node.input if n in makers]
        if node.name in errors and "DequantizeLinear" in {source.op_type for source in sources}:
            rounded[node.name] = sources
    assert wide not in rounded
    assert "ConvTranspose" not in {node.op_type for node in model.graph.node}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv" and n.name in rounded]
    assert len(convolutions) > 5
    for node in convolutions:
        activations, weights = rounded[node.name][:2]
        assert constants[activations.input[2]].dtype == np.uint8
        assert constants[weights.input[0]].dtype == np.int8
        # A pair of products must fit into 16 bit, for processors without VNNI.
        assert np.abs(constants[weights.input[0]].astype(int)).max() == 64
        assert constants[weights.input[1]].size == len(constants[weights.input[0]])
    sums = {n.name for n in model.graph.node if n.op_type == "Add"} & rounded.keys()
    assert sums
    assert not [name for name in sums if "backbone.blocks" in name]


def test_layer_errors_by_hand(tmp_path):
    """One product: its own error is that of rounding its two inputs."""
    from onnx import helper, numpy_helper

    from padre3d.export.layer_errors import layer_errors

    random = np.random.default_rng(0)
    x, w = (random.normal(size=s).astype(np.float32) for s in ((8, 16), (16, 4)))
    value = helper.make_tensor_value_info
    ends = [value("x", FLOAT, [8, 16])], [value("y", FLOAT, [8, 4])]
    product = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    opset = [helper.make_opsetid("", 20)]
    reference = helper.make_model(
        helper.make_graph([product], "g", *ends, [numpy_helper.from_array(w, "w")]),
        opset_imports=opset,
        ir_version=10,
    )
    step = np.float32(0.25)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"], "q"),
        helper.make_node("DequantizeLinear", ["x_q", "s", "z"], ["x_d"], "d"),
        helper.make_node("DequantizeLinear", ["w_q", "s", "z"], ["w_d"], "dw"),
        helper.make_node("MatMul", ["x_d", "w_d"], ["y"], "product"),
    ]
    constants = {
        "s": step,
        "z": np.int8(0),
        "w_q": np.clip(np.round(w / step), -128, 127).astype(np.int8),
    }
    tensors = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    quantised = helper.make_model(
        helper.make_graph(nodes, "g", *ends, tensors), opset_imports=opset, ir_version=10
    )
    (error,) = layer_errors(reference, quantised, [{"x": x}])
    rounded = (np.round(x / step) * step) @ (np.round(w / step) * step)
    expected = np.sqrt(np.square(rounded - x @ w).sum() / np.square(x @ w).sum())
    assert error["own"] == pytest.approx(expected, rel=1e-4)
    assert error["total"] == pytest.approx(expected, rel=1e-4)
    assert (error["layer"], error["operator"]) == ("product", "MatMul")


def test_eight_bit_for_npus(tmp_path):
    manifest, _, model = export_as("int8-qnn", tmp_path / "out", sizes=(420,))
    assert manifest["parity"]["max_relative_rms"] < 0.15
    kinds = {t.data_type for t in model.graph.initializer}
    assert {onnx.TensorProto.UINT16, onnx.TensorProto.UINT8} <= kinds
    errors = manifest["layer_errors"]
    assert {e["bits"] for e in errors} == {"A16 W8"}
    assert "Relu" not in {n.op_type for n in model.graph.node}, "cut by the ranges instead"
    assert all(e["own"] < 0.1 for e in errors), "8-bit weights alone lose little"
    with pytest.raises(ValueError, match="int8-qnn: expected fixed numbers of pillars"):
        export.ExportConfig("int8-qnn")


def test_what_cannot_be_exported(tmp_path, monkeypatch, repo_root):
    detector = small_detector.build()
    clouds = {"frame": CALIBRATION[0]}
    with pytest.raises(ValueError, match="int8-trt: expected at least one calibration cloud"):
        export.export_detector(detector, clouds, tmp_path / "out", export.ExportConfig("int8-trt"))
    with pytest.raises(ValueError, match="precision: expected one of fp32, .*, got 'int4'"):
        export.ExportConfig("int4")
    with pytest.raises(ValueError, match="parts: expected one of whole, .*, got 'halves'"):
        export.export_detector(
            detector, clouds, tmp_path / "out", export.ExportConfig(parts="halves")
        )
    assert list(tmp_path.iterdir()) == []
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import export as tool

    monkeypatch.setattr(sys, "argv", ["export.py"])
    with pytest.raises(SystemExit, match="error: .*missing.bin"):
        tool.main(
            [
                "config.py",
                "weights.pth",
                "--out",
                str(tmp_path / "out"),
                "--precision",
                "int8-trt",
                "--calib",
                str(tmp_path / "missing.bin"),
            ]
        )
