"""The ways from points to boxes agree on clouds that show nothing, and on a broken network."""

import copy
import json
import shutil

import numpy as np
import pytest
import small_detector
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

onnx = pytest.importorskip("onnx")

from padre3d.deploy import Runtime  # noqa: E402
from padre3d.export.evaluate import use_runtime  # noqa: E402
from padre3d.inference import detect  # noqa: E402
from padre3d.runtime.folder import sha256  # noqa: E402

NOTHING = {
    "empty": np.zeros((0, 5)),
    "out of range": np.array([[99, 0, 0, 9, 0], [0, 0, 50, 9, 0], [0, -10.9, 0, 9, 0]]),
    "not finite": np.array([[0, 0, 0, np.nan, 0], [np.inf, 0, 0, 9, 0], [0, 0, 0, 9, -np.inf]]),
    "absurd": np.array([[0, 0, 0, 1e30, 0], [0, 0, 0, -2e6, 0], [0, 0, 0, 9, 1e5]]),
}


def routes(detector, folder):
    """Every way from a cloud (P, 5) to boxes, each with a cloud that shows something beside it."""
    evaluated = copy.deepcopy(detector)
    use_runtime(evaluated, Runtime(folder))

    def batch_of(model, row):
        def run(cloud):
            clouds = [small_detector.cloud(900), torch.from_numpy(np.float32(cloud))]
            clouds = clouds if row else clouds[::-1]
            return model.predict_points(clouds)[row]

        return run

    def evaluation(model):
        """What tools/test.py does with a frame."""

        def run(cloud):
            sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
            points = [torch.from_numpy(np.float32(cloud))]
            (result,) = model.predict({"points": points}, [sample])
            return result.pred_instances_3d

        return run

    return {
        "detect": lambda cloud: detect(detector, cloud),
        "first of a batch": batch_of(detector, 0),
        "second of a batch": batch_of(detector, 1),
        "runtime": Runtime(folder),
        "evaluation of torch": evaluation(detector),
        "evaluation of the runtime": evaluation(evaluated),
    }


def count(detections):
    """Boxes, by each of the three fields."""
    if hasattr(detections, "bboxes_3d"):
        boxes = detections.bboxes_3d.tensor
        detections = (boxes, detections.scores_3d, detections.labels_3d)
    (number,) = {len(values) for values in detections}
    assert detections[0].shape == (number, 9)
    return number


def test_no_boxes_in_clouds_that_show_nothing(exported_padre):
    """detect, predict_points, Runtime and the evaluation: twin of each other on an empty cloud."""
    detector, cloud, folder = exported_padre.detector, exported_padre.cloud, exported_padre.folder
    for name, find in routes(detector, folder).items():
        assert count(find(cloud)) > 5, name
        for kind, points in NOTHING.items():
            assert count(find(points)) == 0, (name, kind)


def test_one_absurd_point_changes_the_count_only(exported_padre):
    """An intensity of 1e30 among 34,688 points."""
    detector, folder = exported_padre.detector, exported_padre.folder
    cloud = small_detector.cloud(34_688, seed=5).numpy()
    runtime = Runtime(folder)
    clean, clean_torch = runtime(cloud), detect(detector, cloud)
    assert runtime.last.unusable_points == 0
    row = np.array([[0.3, 0.3, -1, 1e30, 0]], np.float32)
    for dirty in (np.concatenate([cloud, row]), np.concatenate([row, cloud])):
        for a, b in zip(runtime(dirty), clean, strict=True):
            np.testing.assert_array_equal(a, b)
        assert runtime.last.unusable_points == 1
        for a, b in zip(detect(detector, dirty), clean_torch, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert len(clean.scores) > 5


def test_absurd_points_change_nothing_that_training_sees(exported_padre):
    detector, cloud = exported_padre.detector, exported_padre.cloud
    training = copy.deepcopy(detector).train()
    dirty = np.concatenate([cloud, [[0.3, 0.3, -1, 1e30, 0], [1e6, 0, 0, 0, 0]]])
    pillars = [
        training.pillar_encoder([torch.from_numpy(np.float32(points))]) for points in (cloud, dirty)
    ]
    torch.testing.assert_close(*(p.features for p in pillars))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_weights_are_an_error(exported_padre, tmp_path, value):
    """Instead of no boxes, in torch and in the runtime: the error names the output."""
    detector, cloud, source = exported_padre.detector, exported_padre.cloud, exported_padre.folder
    message = "^outputs: expected finite numbers, got (NaN|infinity) in "
    broken = copy.deepcopy(detector)
    with torch.no_grad():
        next(p for n, p in broken.head.named_parameters() if n.startswith("branches")).fill_(value)
    with pytest.raises(ValueError, match=message):
        detect(broken, cloud)
    folder = tmp_path / "out"
    shutil.copytree(source, folder)
    model = onnx.load(str(folder / "model.onnx"))
    node = next(n for n in model.graph.node if "branches" in n.name and len(n.input) > 1)
    constant = next(t for t in model.graph.initializer if t.name in node.input)
    values = np.full(tuple(constant.dims), value, np.float32)
    constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    onnx.save(model, str(folder / "model.onnx"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["model.onnx"] = sha256(folder / "model.onnx")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message):
        Runtime(folder)(cloud)


def test_model_for_other_inputs(exported_padre):
    """Features of another width, or an input that there is not, name the file."""
    runtime = Runtime(exported_padre.folder)
    features, cells = runtime.encode(exported_padre.cloud)
    with pytest.raises(
        ValueError, match=r"model.onnx: expected a model that takes features .*, 5\)"
    ):
        runtime.outputs(features[:, :5], cells)
    (part,) = runtime._models[0].parts
    with pytest.raises(ValueError, match="model.onnx: expected a model with the inputs features, "):
        part.run({"features": features})


def test_closing_is_for_any_backend(exported_padre):
    with Runtime(exported_padre.folder) as runtime:
        assert count(runtime(exported_padre.cloud)) > 5
    with pytest.raises(ValueError, match="runtime: expected an open one"):
        runtime(exported_padre.cloud)
