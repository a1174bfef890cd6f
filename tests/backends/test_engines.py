"""Files that really build: TensorRT-RTX and the NPU emulator, where they are installed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import small_detector
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from padre3d.backends.base import Options  # noqa: E402
from padre3d.backends.tensorrt import build_engine  # noqa: E402
from padre3d.backends.tensorrt_profile import Profile  # noqa: E402
from padre3d.deploy import BackendError, Runtime  # noqa: E402
from padre3d.export import export  # noqa: E402
from padre3d.export.export import ExportConfig  # noqa: E402
from padre3d.export.parity import compare_outputs  # noqa: E402
from padre3d.export.precision import convert  # noqa: E402
from padre3d.head.outputs import HeadOutputs  # noqa: E402

RTX = "tensorrt-rtx"


def export_as(precision, folder, name, **settings):
    cloud = small_detector.cloud(300)
    config = ExportConfig(precision, tolerance=1.0, **settings)
    detector = small_detector.build(**small_detector.MIXERS[name])
    export.export_detector(detector, {"frame": cloud}, folder, config, [cloud])
    return folder / "model.onnx"


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="optional: requirements/deploy.txt")


def test_fp32_engines(rtx, exported):
    """Any number of pillars, every layout."""
    sets = (2, 60, 200) if exported.detector.backbone.planner.layout == "set" else None
    engine = build_engine(RTX, exported.folder / "model.onnx", Profile(2, 400, 900, sets=sets))
    assert len(engine) > 100_000


@pytest.mark.parametrize("name", ["padre", "grid"])
@pytest.mark.parametrize("precision", ["fp16", "int8-trt"])
def test_typed_engines(rtx, request, tmp_path, precision, name):
    exported = request.getfixturevalue(f"exported_{name}")
    path = shutil.copy(exported.folder / "model.onnx", tmp_path)
    exporter = export.Exporter(exported.detector, export.ExportConfig(), tmp_path)
    inputs = exporter.inputs(torch.from_numpy(exported.cloud), None)
    convert(Path(path), precision, [{name: value.numpy() for name, value in inputs.items()}])
    assert len(build_engine(RTX, Path(path), Profile(2, 300, 900))) > 50_000


def test_what_does_not_build_is_named(rtx, exported_padre, tmp_path):
    """A torn file does not parse; a TopK of 3841 parses, so only the build can tell."""
    path = tmp_path / "model.onnx"
    path.write_bytes((exported_padre.folder / "model.onnx").read_bytes()[:-50])
    with pytest.raises(ValueError, match="tensorrt-rtx does not parse it"):
        build_engine(RTX, path, Profile(2, 300, 900))
    value = onnx.helper.make_tensor_value_info
    x, y = value("x", 1, ["pillars", 4000]), value("y", 1, ["pillars", 3841])
    node = onnx.helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=1)
    k = onnx.numpy_helper.from_array(np.array([3841], np.int64), "k")
    graph = onnx.helper.make_graph([node], "g", [x], [y], [k])
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))
    with pytest.raises(ValueError, match="tensorrt-rtx does not build it"):
        build_engine(RTX, path, Profile(1, 2, 3))


def test_without_a_gpu_there_is_an_error(rtx, exported_padre):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match="tensorrt-rtx.*: expected"):
        Runtime(exported_padre.folder, RTX)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["padre", "grid"])
def test_engines_give_the_values_of_onnxruntime(rtx, request, tmp_path, name):
    exported = request.getfixturevalue(f"exported_{name}")
    folder = shutil.copytree(exported.folder, tmp_path / "out")  # the engine is kept in there
    with Runtime(folder, RTX) as gpu:
        cpu = Runtime(folder)
        features, cells = cpu.encode(exported.cloud)
        expected, actual = (
            HeadOutputs(*(torch.from_numpy(outputs[name]) for name in HeadOutputs._fields))
            for outputs in (r.outputs(features, cells) for r in (cpu, gpu))
        )
    parity = compare_outputs("frame", len(cells), expected, actual, exported.detector.head)
    assert parity.matched >= 36
    assert parity.worst_relative <= 0.01, parity.relative  # products of ten bits (TF32)


@pytest.mark.slow
# On the grid the worst is the height, whose values are small: 3 mm of them.
@pytest.mark.parametrize(("name", "limit"), [("padre", 0.01), ("grid", 0.02)])
def test_npu_emulator_gives_the_values(tmp_path, name, limit):
    """int8-qnn as one partition in the HTP emulator, against onnxruntime on the CPU."""
    pytest.importorskip("onnxruntime_qnn", reason="optional: requirements/deploy.txt")
    path = export_as("int8-qnn", tmp_path / "out", name, sizes=(512,))
    cpu, npu = Runtime(path.parent), Runtime(path.parent, "qnn")
    features, cells = cpu.encode(small_detector.cloud(300, seed=2).numpy())
    detector = small_detector.build(**small_detector.MIXERS[name])
    expected, actual = (
        HeadOutputs(*(torch.from_numpy(outputs[name]) for name in HeadOutputs._fields))
        for outputs in (r.outputs(features, cells) for r in (cpu, npu))
    )
    parity = compare_outputs("frame", len(cells), expected, actual, detector.head)
    assert parity.matched >= 36
    assert parity.worst_relative <= limit, parity.relative


@pytest.mark.slow
def test_context_binary_for_one_soc(tmp_path):
    """The offline compiler writes the program of a Snapdragon 8 Gen 2 (SoC 43, HTP v73)."""
    pytest.importorskip("onnxruntime_qnn", reason="optional: requirements/deploy.txt")
    from padre3d.backends.qnn import open_session

    path = export_as("int8-qnn", tmp_path / "out", "padre", sizes=(512,))
    context = tmp_path / "context.onnx"
    open_session(path, Options(), context)
    nodes = onnx.load(str(context)).graph.node
    assert [node.op_type for node in nodes] == ["EPContext"]
