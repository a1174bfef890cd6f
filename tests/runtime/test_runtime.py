"""The exported folder from points to boxes: eager's boxes, without torch, and clear errors."""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import small_detector
import torch
from same_outputs import assert_close_to_largest

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from padre3d.backends import registry  # noqa: E402
from padre3d.backends.base import Loaded  # noqa: E402
from padre3d.backends.openvino import shared_core  # noqa: E402
from padre3d.deploy import BackendError, Runtime  # noqa: E402
from padre3d.export.export import ExportConfig, export_detector  # noqa: E402
from padre3d.export.graph import DetectorGraph, frame_inputs  # noqa: E402
from padre3d.inference import detect  # noqa: E402
from padre3d.runtime.folder import sha256  # noqa: E402
from padre3d.structures.boxes import Detections  # noqa: E402


def assert_same_boxes(detections, expected):
    """Equal up to rounding; boxes are matched by class and nearest centre."""
    assert len(detections.scores) == len(expected.scores)
    assert len(detections.scores) > 5
    for box, score, label in zip(*expected, strict=True):
        rows = np.flatnonzero(detections.labels == label)
        distance = np.abs(detections.boxes[rows] - box)[:, :3].max(1)
        row = rows[(distance + np.abs(detections.scores[rows] - score)).argmin()]
        np.testing.assert_allclose(detections.boxes[row, :6], box[:6], atol=1e-3)
        np.testing.assert_allclose(detections.scores[row], score, atol=1e-4)


def test_boxes_are_those_of_eager_torch(exported):
    detector, cloud, folder = exported.detector, exported.cloud, exported.folder
    runtime = Runtime(folder)
    assert_same_boxes(runtime(cloud), detect(detector, cloud))
    cloud = small_detector.cloud(300, seed=3).numpy()
    assert_same_boxes(runtime(cloud), detect(detector, cloud))
    assert runtime.last.dropped == 0
    assert runtime.last.pillars == runtime.last.size > 20


@pytest.mark.parametrize("size", [None, 600])
def test_inputs_are_those_of_torch(exported, size):
    """index_inputs and PillarEncoder: twin of frame_inputs and DynamicPillarEncoder."""
    detector, cloud, folder = exported.detector, exported.cloud, exported.folder
    runtime, graph = Runtime(folder), DetectorGraph(detector)
    with torch.no_grad():
        expected = frame_inputs(graph, detector.pillar_encoder([torch.from_numpy(cloud)]), size)
    sets = expected["index"].shape[1] if detector.backbone.planner.layout == "set" else None
    actual = runtime.inputs(*runtime.encode(cloud), size or 1, sets)
    for name, value in expected.items():
        assert actual[name].dtype == value.numpy().dtype
    assert_close_to_largest(torch.from_numpy(actual["features"]), expected.pop("features"))
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value.numpy(), err_msg=name)


def test_no_torch_is_needed(exported_padre, tmp_path):
    """A fresh process that cannot import torch finds the same boxes."""
    cloud, folder = exported_padre.cloud, exported_padre.folder
    np.save(tmp_path / "cloud.npy", cloud)
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "mmdet3d", "mmcv", "mmengine", "mmdet", "onnx"):
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Block())
import numpy as np
from padre3d.deploy import Runtime
detections = Runtime({str(folder)!r})(np.load({str(tmp_path / "cloud.npy")!r}))
np.savez({str(tmp_path / "detections.npz")!r}, **detections._asdict())
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with np.load(tmp_path / "detections.npz") as detections:
        assert_same_boxes(Detections(**detections), Runtime(folder)(cloud))


@pytest.fixture(scope="module")
def buckets(tmp_path_factory):
    """(detector, folder) with graphs of 60 and 200 pillars."""
    detector = small_detector.build()
    folder = tmp_path_factory.mktemp("buckets") / "out"
    clouds = {"frame": small_detector.cloud(60)}
    _, results = export_detector(detector, clouds, folder, ExportConfig(sizes=(60, 200)))
    assert max(result.worst for result in results) < 1e-4
    return detector, folder


def test_smallest_bucket_that_fits(buckets, caplog):
    detector, folder = buckets
    runtime = Runtime(folder)
    for points, size in ((30, 60), (150, 200)):
        cloud = small_detector.cloud(points).numpy()
        assert_same_boxes(runtime(cloud), detect(detector, cloud))
        assert (runtime.last.size, runtime.last.dropped) == (size, 0)
    assert not caplog.records


def cells_of(cloud, grid):
    """Cell ids of points, -1 out of range."""
    cell = np.floor((cloud[:, :2] - np.float32(grid.range_m[:2])) / np.float32(grid.cell_m))
    inside = ((cell >= 0) & (cell < grid.shape[::-1])).all(1)
    return np.where(inside, cell[:, 1] * grid.shape[1] + cell[:, 0], -1)


def test_nearest_pillars_are_kept(buckets, caplog):
    """What does not fit is dropped, farthest first, and said."""
    detector, folder = buckets
    runtime, cloud = Runtime(folder), small_detector.cloud(3000).numpy()
    features, cells = runtime.encode(cloud)
    assert len(cells) > 300
    distance = np.square(runtime.grid.centres_m(cells)).sum(1)
    nearest = cells[np.argsort(distance, kind="stable")[:200]]
    with caplog.at_level(logging.WARNING, logger="padre3d"):
        detections = runtime(cloud)
    assert runtime.last.dropped == len(cells) - 200
    assert f"the {len(cells) - 200} farthest were dropped" in caplog.text
    near = np.isin(cells_of(cloud, runtime.grid), nearest)
    np.testing.assert_array_equal(runtime.encode(cloud[near])[1], np.sort(nearest))
    assert_same_boxes(detections, detect(detector, cloud[near]))


def test_a_dynamic_graph_without_mask_is_not_padded(exported_padre, monkeypatch):
    """A profile's minimum above the frame's pillars is an error, not a wrong answer."""
    cloud, folder = exported_padre.cloud, exported_padre.folder
    plain = registry.BACKENDS["onnxruntime"]

    def limited(path, options):
        return Loaded(plain(path, options).run, (5000, 9000))

    monkeypatch.setitem(registry.BACKENDS, "onnxruntime", limited)
    with pytest.raises(ValueError, match="expected at least 5000, and the graph has no mask"):
        Runtime(folder)(cloud)


def test_a_graph_on_the_grid_is_padded_without_a_mask(exported_grid, monkeypatch):
    """No cell of the map refers to the padding."""
    detector, folder = exported_grid.detector, exported_grid.folder
    cloud = small_detector.cloud(400).numpy()
    plain = registry.BACKENDS["onnxruntime"]

    def limited(path, options):
        return Loaded(plain(path, options).run, (500, 900))

    monkeypatch.setitem(registry.BACKENDS, "onnxruntime", limited)
    runtime = Runtime(folder)
    assert_same_boxes(runtime(cloud), detect(detector, cloud))
    assert runtime.last.size == 500 > runtime.last.pillars


def test_profile_limits_of_a_masked_graph(masked_parts, monkeypatch):
    """Fewer pillars than the profile's minimum are padded, in every part of the graph."""
    detector, folder = masked_parts.detector, masked_parts.folder
    cloud = small_detector.cloud(400).numpy()
    plain = registry.BACKENDS["onnxruntime"]

    def limited(path, options):
        return Loaded(plain(path, options).run, (500, 900))

    monkeypatch.setitem(registry.BACKENDS, "onnxruntime", limited)
    runtime = Runtime(folder)
    assert_same_boxes(runtime(cloud), detect(detector, cloud))
    assert runtime.last.size == 500 > runtime.last.pillars


def test_bad_clouds(exported_padre):
    detector, cloud, folder = exported_padre.detector, exported_padre.cloud, exported_padre.folder
    runtime = Runtime(folder)
    for empty in (np.zeros((0, 5)), np.full((3, 5), np.nan), np.full((4, 5), 1e6)):
        assert len(runtime(empty).scores) == 0
    dirty = np.concatenate([cloud, [[np.nan] * 5, [0, 0, np.inf, 0, 0], [1e30] * 5]])
    np.testing.assert_array_equal(runtime(dirty).boxes, runtime(cloud).boxes)
    assert len(runtime(np.zeros((1, 5)))[0]) == len(detect(detector, np.zeros((1, 5)))[0])
    assert runtime.last.unusable_points == 0
    runtime(dirty)
    assert runtime.last.unusable_points == 3
    with pytest.raises(ValueError, match=r"expected shape \(P, 5\), got \(7, 4\)"):
        runtime(np.zeros((7, 4)))
    with pytest.raises(ValueError, match="expected numbers, got dtype"):
        runtime(np.full((2, 5), "x"))
    random = np.random.default_rng(0)
    crowd = random.uniform(-12, 12, (1_500_000, 5)).astype(np.float32)
    runtime(crowd)
    assert runtime.last.pillars == 36 * 36


def test_damaged_folders(exported_padre, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(exported_padre.folder, folder)
    model, manifest = folder / "model.onnx", folder / "manifest.json"
    content, text = model.read_bytes(), manifest.read_text()
    model.write_bytes(content[:1000] + b"\0" + content[1001:])
    with pytest.raises(ValueError, match=r"model.onnx: expected the exported file with sha256"):
        Runtime(folder)
    model.write_bytes(content[:5000])
    changed = json.loads(text)
    changed["sha256"]["model.onnx"] = sha256(model)
    manifest.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=r"model.onnx: expected an ONNX model that loads"):
        Runtime(folder)
    model.unlink()
    with pytest.raises(FileNotFoundError, match="model.onnx: named in the manifest"):
        Runtime(folder)
    model.write_bytes(content)
    for wrong, message in (
        (text[:100], "expected JSON"),
        ("[]", "manifest of format 2 or 3, got None"),
        (json.dumps({**json.loads(text), "format": 1}), "of format 2 or 3, got 1"),
        (json.dumps({"format": 3}), "missing required field"),
        (json.dumps({**json.loads(text), "sha256": {}}), "expected checksums of all files"),
    ):
        manifest.write_text(wrong)
        with pytest.raises(ValueError, match=message.replace("[", r"\[")):
            Runtime(folder)
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match="found no manifest.json"):
        Runtime(folder)


def test_absent_backends_are_errors(exported_padre, monkeypatch):
    folder = exported_padre.folder
    with pytest.raises(ValueError, match="expected one of onnxruntime, .*, got 'torch'"):
        Runtime(folder, "torch")
    for name, package in (("openvino", "openvino"), ("onnxruntime", "onnxruntime")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(BackendError, match=f"pip install {package}"):
                Runtime(folder, name)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match="expected an onnxruntime with CUDAExecutionPro"):
        Runtime(folder, "onnxruntime-cuda")


def test_openvino_gives_the_same_boxes(exported_padre):
    pytest.importorskip("openvino")
    detector, cloud, folder = exported_padre.detector, exported_padre.cloud, exported_padre.folder
    assert_same_boxes(Runtime(folder, "openvino", threads=1)(cloud), detect(detector, cloud))


def test_openvino_in_bfloat16(exported_padre):
    pytest.importorskip("openvino")
    if "BF16" not in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not multiply bfloat16")
    cells = np.arange(0, 200, 2)
    wide = Runtime(exported_padre.folder, "openvino", threads=1)
    half = Runtime(exported_padre.folder, "openvino-bf16", threads=1)
    features = np.random.default_rng(0).random((len(cells), 16), np.float32)
    one, other = (r.outputs(features, cells)["dense_heatmap"] for r in (wide, half))
    error = np.abs(one - other).max() / np.abs(one).max()
    assert 1e-5 < error < 0.1


def test_bfloat16_without_the_processor_is_an_error(exported_padre, monkeypatch):
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(BackendError, match="processor with bfloat16, this one has FP32, INT8"):
        Runtime(exported_padre.folder, "openvino-bf16")


def test_closed_runtime_frees_its_models(buckets, monkeypatch):
    """Every model once; also when the last of them does not open."""
    plain, closed = registry.BACKENDS["onnxruntime"], []

    def counted(path, options):
        if options.threads == 7 and path.stem.endswith("_200"):
            raise BackendError("no room")
        return replace(plain(path, options), close=lambda: closed.append(path.name))

    monkeypatch.setitem(registry.BACKENDS, "onnxruntime", counted)
    with Runtime(buckets[1]) as runtime:
        assert len(runtime(small_detector.cloud(40).numpy()).scores) > 5
        assert closed == []
    assert sorted(closed) == ["model_200.onnx", "model_60.onnx"]
    runtime.close()
    assert len(closed) == 2
    with pytest.raises(ValueError, match="expected an open one, got one that was closed"):
        runtime(small_detector.cloud(40).numpy())
    with pytest.raises(BackendError, match="no room"):
        Runtime(buckets[1], threads=7)
    assert closed[2:] == ["model_60.onnx"]
