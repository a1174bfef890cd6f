"""Boxes to JSON and back."""

import json
import os

import numpy as np
import pytest
import torch

from padre3d.io.boxes_json import boxes_to_json, read_boxes_json, write_boxes_json
from padre3d.io.files import write_atomic
from padre3d.structures.boxes import Detections, box_arrays
from padre3d.structures.classes import NUSCENES_CLASSES

ROWS = [[1.23456, -2, 0.5, 4.5, 1.9, 1.6, -3.1, 0.25, -7], [9, 8, -1, 0.7, 0.6, 1.8, 0.5, 0, 0]]


def detections(rows=ROWS, scores=(0.98766, 0.125), labels=(0, 8)):
    return Detections(torch.tensor(rows), torch.tensor(scores), torch.tensor(labels))


def test_json_has_the_keys_and_four_digits():
    assert boxes_to_json(detections(), NUSCENES_CLASSES) == {
        "boxes": [
            {
                "name": "car",
                "score": 0.9877,
                "center_m": [1.2346, -2.0, 0.5],
                "size_lwh_m": [4.5, 1.9, 1.6],
                "yaw_rad": -3.1,
                "velocity_mps": [0.25, -7.0],
            },
            {
                "name": "pedestrian",
                "score": 0.125,
                "center_m": [9.0, 8.0, -1.0],
                "size_lwh_m": [0.7, 0.6, 1.8],
                "yaw_rad": 0.5,
                "velocity_mps": [0.0, 0.0],
            },
        ]
    }


def test_half_precision_and_empty():
    whole = detections()
    half = Detections(whole.boxes.bfloat16(), whole.scores.half(), whole.labels)
    assert boxes_to_json(half, NUSCENES_CLASSES)["boxes"][1]["center_m"] == [9.0, 8.0, -1.0]
    empty = Detections(np.zeros((0, 9)), np.zeros(0), np.zeros(0))
    assert boxes_to_json(empty, NUSCENES_CLASSES) == {"boxes": []}


def test_round_trip_with_unknown_velocity(tmp_path):
    rows = [list(row) for row in ROWS]
    rows[1][7:] = [float("nan")] * 2
    path = tmp_path / "new" / "boxes.json"
    write_boxes_json(path, detections(rows), NUSCENES_CLASSES)
    assert json.loads(path.read_text())["boxes"][1]["velocity_mps"] == [None, None]
    back = read_boxes_json(path, NUSCENES_CLASSES)
    np.testing.assert_allclose(back.boxes, np.array(rows), atol=5e-5)
    np.testing.assert_allclose(back.scores, [0.9877, 0.125])
    np.testing.assert_array_equal(back.labels, [0, 8])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rows": [row[:7] for row in ROWS]}, r"boxes: expected shape \(K, 9\), got \(2, 7\)"),
        ({"scores": (0.5,)}, r"scores: expected shape \(2,\), got \(1,\)"),
        ({"labels": (0, 10)}, "labels: expected 0 to 9, got 0 to 10"),
        ({"labels": (0.0, 0.125)}, "labels: expected whole numbers, got 0.125"),
        ({"labels": (-1, 0)}, "labels: expected 0 to 9, got -1 to 0"),
        ({"scores": (0.5, float("nan"))}, "finite numbers .* at row 1"),
        ({"rows": [[0.0] * 9, ROWS[0]]}, "positive sizes, .* at row 0 .1 such"),
        ({"rows": [ROWS[0], [float("inf"), *ROWS[1][1:]]]}, "finite numbers .* at row 1"),
        ({"rows": [ROWS[0], [*ROWS[1][:8], float("inf")]]}, "finite numbers .* at row 1"),
    ],
)
def test_bad_detections(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        write_boxes_json(tmp_path / "a.json", detections(**changes), NUSCENES_CLASSES)
    assert not list(tmp_path.iterdir())


def box(**changes):
    good = boxes_to_json(detections(), NUSCENES_CLASSES)["boxes"][0]
    return json.dumps({"boxes": [{k: v for k, v in {**good, **changes}.items() if v != "drop"}]})


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", 'JSON with a list "boxes", got JSONDecodeError'),
        ("{}", 'JSON with a list "boxes", got KeyError'),
        ("[]", 'JSON with a list "boxes", got TypeError'),
        (box(name="tram"), "box 0 of 1: .*tram"),
        (box(yaw_rad="drop"), "box 0 of 1: KeyError..yaw_rad"),
        (box(center_m=[1, 2]), r"box 0 of 1: .*expected 3 numbers, got \[1, 2\]"),
        (box(size_lwh_m=[1, 2, -3]), "positive sizes"),
        ("[" * 100_000, 'JSON with a list "boxes", got RecursionError'),
        ('{"boxes": 3}', 'JSON with a list "boxes", got TypeError'),
        ('{"boxes": [3]}', "box 0 of 1: TypeError"),
        (box(num_lidar_pts="x"), "box 0 of 1: ValueError.*'x'"),
        (box(num_lidar_pts=None), "box 0 of 1: TypeError"),
        (box(score="high"), "box 0 of 1: ValueError.*'high'"),
        (box(yaw_rad=10**400), "box 0 of 1: OverflowError"),
    ],
)
def test_bad_json(tmp_path, content, match):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"a\.json: .*{match}"):
        read_boxes_json(path, NUSCENES_CLASSES)


def test_json_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"boxes": "\xff"}')
    with pytest.raises(ValueError, match=r"a\.json: expected JSON .*UnicodeDecodeError"):
        read_boxes_json(tmp_path / "a.json", NUSCENES_CLASSES)


@pytest.mark.parametrize("changes", [{"velocity_mps": "drop"}, {"velocity_mps": None}])
def test_an_annotation_without_a_velocity_has_an_unknown_one(tmp_path, changes):
    (tmp_path / "a.json").write_text("\ufeff" + box(**changes), encoding="utf-8")
    (row,) = read_boxes_json(tmp_path / "a.json", NUSCENES_CLASSES).boxes
    assert np.isnan(row).tolist() == [False] * 7 + [True] * 2


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_real_annotation_agrees_with_its_points(real_dir):
    """Counting the points in every box again gives the annotation's own counts.

    nuScenes counted in another frame: points on a surface fall on either side of it.
    """
    from padre3d.io import load_points

    path = next(real_dir.glob("n015*.json"))
    annotated = [r for r in json.loads(path.read_text())["boxes"] if r["name"] != "ignore"]
    boxes, scores, labels = read_boxes_json(path, NUSCENES_CLASSES)
    assert len(boxes) == len(annotated) == 68
    assert [NUSCENES_CLASSES[label] for label in labels] == [r["name"] for r in annotated]
    assert (scores == 1).all()
    points = load_points(next(real_dir.glob("n015*.pcd.bin")))[:, :3].astype(np.float64)
    offset = points[None] - boxes[:, None, :3]
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    along = np.abs(offset[..., 0] * cos + offset[..., 1] * sin) <= boxes[:, 3:4] / 2
    across = np.abs(offset[..., 1] * cos - offset[..., 0] * sin) <= boxes[:, 4:5] / 2
    counted = (along & across & (np.abs(offset[..., 2]) <= boxes[:, 5:6] / 2)).sum(1)
    given = np.array([r["num_lidar_pts"] for r in annotated])
    np.testing.assert_allclose(counted, given, rtol=0.1, atol=1)
    assert (counted == given).sum() >= 60
    assert len(read_boxes_json(path, NUSCENES_CLASSES, min_lidar_pts=5).boxes) == sum(
        r["num_lidar_pts"] >= 5 for r in annotated
    )


def test_box_arrays_accepts_lists():
    arrays = box_arrays(Detections(ROWS, [0.5, 0.25], [1, 2]), NUSCENES_CLASSES)
    assert arrays.boxes.dtype == np.float64
    assert arrays.labels.tolist() == [1, 2]
