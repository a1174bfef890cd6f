"""Boxes of raw outputs in C++: those of padre3d.runtime.decode."""

import json

import numpy as np
import pytest
from broken_folders import MANIFEST, change, make_folder, valid, write

from padre3d.io.boxes_json import boxes_to_json
from padre3d.runtime.decode import decode
from padre3d.runtime.manifest import parse_manifest
from padre3d.structures.boxes import Detections, box_arrays

CLASSES, PROPOSALS = 3, 300


def outputs(rng, proposals=PROPOSALS):
    """Raw outputs of a street that is full: many boxes overlap, some scores are equal."""
    raw = {
        name: rng.normal(size=(1, proposals, size)).astype(np.float32)
        for name, size in (("rot", 2), ("vel", 2), ("heatmap", CLASSES), ("dim", 3))
    }
    raw["center"] = rng.uniform(-0.5, 8, (1, proposals, 2)).astype(np.float32)
    raw["height"] = rng.uniform(-6, 6, (1, proposals, 1)).astype(np.float32)
    raw["iou"] = rng.uniform(-1.2, 1.2, (1, proposals, 1)).astype(np.float32)
    raw["query_heatmap_score"] = rng.uniform(0, 1, (1, proposals, CLASSES)).astype(np.float32)
    raw["query_labels"] = rng.integers(0, CLASSES, (1, proposals))
    for value in raw.values():  # the same boxes once more
        value[:, 1::5] = value[:, ::5][:, : value[:, 1::5].shape[1]]
    return raw


def folder_with(folder, **decoding):
    """A folder of three classes with these settings."""
    manifest = {**MANIFEST, "classes": ["car", "bus", "truck"]}
    settings = {**MANIFEST["decode"], "iou_alpha": 0.5, "centre_range_m": [-3, -2, -5, 3, 2, 5]}
    make_folder(folder)
    sums = valid(folder)["sha256"]
    return write(folder, {**manifest, "sha256": sums, "decode": {**settings, **decoding}})


def decoded(cpp, folder, raw, tmp_path):
    """(K, 11) boxes, score, label by the C++ runtime."""
    np.savez(tmp_path / "outputs.npz", **raw)
    cpp.tool("decode", folder, tmp_path / "outputs.npz", tmp_path / "boxes.npy")
    return np.load(tmp_path / "boxes.npy")


SETTINGS = [
    {},
    {"nms_classes": [0, 2, 2, 7], "nms_iou": 0.4, "nms_rotated": False},
    {"nms_classes": [0, 1, 2], "nms_pre": 20, "nms_max": 15},
    {"nms_classes": [0, 1, 2], "nms_iou": -0.1},
    {"nms_classes": [0, 1], "nms_iou": 0, "nms_max": 0, "nms_score_thr": 0.2},
    {"nms_classes": [0, 1, 2], "nms_score_thr": 0.3, "iou_alpha": [0.2, 0.7, 0]},
    {"iou_alpha": None, "score_thr": 0.4},
    {"score_thr": -1, "nms_classes": []},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("wide", [True, False])
def test_boxes(cpp, tmp_path, settings, wide):
    folder = folder_with(tmp_path / "exported", **settings)
    manifest = parse_manifest(folder)
    raw = outputs(np.random.default_rng(len(str(settings))))
    if not wide:
        raw["query_labels"] = raw["query_labels"].astype(np.int32)
    expected = box_arrays(decode(raw, manifest.head_grid, manifest.decode), manifest.classes)
    found = decoded(cpp, folder, raw, tmp_path)
    assert found.shape == (len(expected.scores), 11)
    np.testing.assert_allclose(found[:, :9], expected.boxes, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:, 9], expected.scores, rtol=1e-5)
    np.testing.assert_array_equal(found[:, 10], expected.labels)


def test_settings_keep_different_boxes(tmp_path):
    """Otherwise the test above compares the same thing eight times."""
    counts = []
    for number, settings in enumerate(SETTINGS):
        manifest = parse_manifest(folder_with(tmp_path / str(number), **settings))
        raw = outputs(np.random.default_rng(0))
        counts.append(len(decode(raw, manifest.head_grid, manifest.decode).scores))
    assert len(set(counts)) > 5
    assert max(counts) > 40


def test_no_proposal(cpp, tmp_path):
    folder = folder_with(tmp_path / "exported")
    assert decoded(cpp, folder, outputs(np.random.default_rng(0), 0), tmp_path).shape == (0, 11)


def with_value(name, value):
    def make(raw):
        raw[name] = raw[name].copy()
        raw[name].flat[5] = value
        return raw

    return make


WRONG = [
    (with_value("heatmap", np.nan), "got NaN in heatmap"),
    (with_value("dim", np.inf), "got infinity in dim"),
    (with_value("query_labels", CLASSES), "query_labels from 0 to 2, got others"),
    (with_value("query_labels", -1), "query_labels from 0 to 2, got others"),
    (lambda raw: {k: v for k, v in raw.items() if k != "vel"}, "got no vel"),
    (lambda raw: {**raw, "rot": raw["rot"][:, :-1]}, "expected rot"),
    (lambda raw: {**raw, "heatmap": raw["heatmap"][0]}, "expected heatmap (1, P, classes)"),
    (lambda raw: {**raw, "query_labels": raw["iou"][..., 0]}, "query_labels"),
    (lambda raw: {**raw, "dense": np.full((1, 2), np.nan, np.float32)}, "got NaN in dense"),
    (
        lambda raw: {**raw, "dim": raw["dim"] * 0 - 200},
        "expected finite numbers and positive sizes",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_outputs(cpp, tmp_path, make, message):
    """What no box can be made of is an error, in Python and in C++."""
    folder = folder_with(tmp_path / "exported")
    manifest = parse_manifest(folder)
    raw = make(outputs(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="expected"):
        box_arrays(decode(raw, manifest.head_grid, manifest.decode), manifest.classes)
    np.savez(tmp_path / "outputs.npz", **raw)
    words = ("decode", folder, tmp_path / "outputs.npz", tmp_path / "boxes.npy")
    done = cpp.run("padre3d_test_tool", *words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr


def test_more_classes_than_names(cpp, tmp_path):
    """A graph and a manifest that do not belong together."""
    folder = folder_with(tmp_path / "exported")
    write(
        folder, change(json.loads((folder / "manifest.json").read_text()), ("classes",), ["a", "b"])
    )
    np.savez(tmp_path / "outputs.npz", **outputs(np.random.default_rng(0)))
    words = ("decode", folder, tmp_path / "outputs.npz", tmp_path / "boxes.npy")
    done = cpp.run("padre3d_test_tool", *words)
    assert "iou_alpha: expected 1 or 3 values, got 2" in done.stderr


NAMES = ("car", "bus")
# x, y, z, length, width, height, yaw, vx, vy, score, label
BOX = [1.23456, -2, 0.5, 4, 2, 1.5, -0.1, 3, 0.00004, 0.75, 1]


def json_of(cpp, folder, rows):
    """What the C++ runtime does with boxes."""
    np.save(folder / "boxes.npy", np.array(rows, float))
    return cpp.run("padre3d_test_tool", "boxes", folder / "boxes.npy", *NAMES)


def python_json(rows):
    rows = np.array(rows, float)
    found = Detections(rows[:, :9], rows[:, 9], rows[:, 10])
    return json.dumps(boxes_to_json(found, NAMES), indent=1, allow_nan=False) + "\n"


def test_a_velocity_that_nobody_knows(cpp, tmp_path):
    rows = [BOX, [*BOX[:7], np.nan, np.nan, *BOX[9:]], [*BOX[:8], np.nan, *BOX[9:]]]
    text = json_of(cpp, tmp_path, rows).stdout
    assert text == python_json(rows)
    assert text.count("null") == 3


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        *((place, np.nan, "expected finite numbers") for place in (0, 3, 6, 9)),
        *((place, np.inf, "expected finite numbers") for place in (2, 5, 6, 7, 8, 9)),
        (4, 0, "expected finite numbers and positive sizes"),
        (10, 2, "labels: expected 0 to 1, got 2"),
        (10, -1, "labels: expected 0 to 1, got -1"),
    ],
)
def test_what_is_no_box(cpp, tmp_path, place, value, message):
    row = [*BOX[:place], value, *BOX[place + 1 :]]
    with pytest.raises(ValueError, match="expected"):
        python_json([row])
    done = json_of(cpp, tmp_path, [row])
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr
