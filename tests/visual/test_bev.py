"""Pictures: every mark lands where its metres say."""

import numpy as np
import pytest

from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.visual import draw_bev, draw_bev_pair
from padre3d.visual.bev import box_outlines, boxes_in_view
from padre3d.visual.raster import rasterise
from padre3d.visual.sheet import (
    BOTTOM_PX,
    LEFT_PX,
    RIGHT_PX,
    TOP_PX,
    Sheet,
    ring_step_m,
    shortened,
)
from padre3d.visual.style import HEIGHT_RAMP, class_colours

NO_POINTS = np.zeros((0, 5), np.float32)


def boxes_of(*rows, labels=None, scores=None):
    boxes = np.array([[*row, 0, 0] for row in rows], float).reshape(-1, 9)
    labels = np.array([0] * len(boxes) if labels is None else labels, int)
    return Detections(boxes, np.ones(len(boxes)) if scores is None else np.array(scores), labels)


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def read(path):
    from matplotlib.image import imread

    return np.round(imread(path)[..., :3] * 255).astype(int)


def pixel(image, x_m, y_m, range_m=54.0, map_px=1400, column=0):
    """The colour at a point of the map; x to the right, y upwards."""
    scale = map_px / (2 * range_m)
    left = column * (LEFT_PX + map_px + RIGHT_PX) + LEFT_PX
    return image[
        round(TOP_PX + (range_m - y_m) * scale - 0.5), round(left + (x_m + range_m) * scale - 0.5)
    ]


def test_box_outline_and_heading():
    # Turned left by 90 degrees the front looks along +y.
    corners, marks = box_outlines(np.array([[10.0, 20, 0, 4, 2, 1, np.pi / 2]]))
    np.testing.assert_allclose(corners[0], [[9, 22], [9, 18], [11, 18], [11, 22]], atol=1e-12)
    np.testing.assert_allclose(marks[0], [[10, 20], [10, 22.8]], atol=1e-12)


def test_boxes_in_view_by_their_corners():
    rows = [[55, 0, 0, 4, 1, 1, 0], [55, 0, 0, 4, 1, 1, np.pi / 2], [0, -56, 0, 1, 1, 1, 0]]
    assert boxes_in_view(np.array(rows), 54).tolist() == [True, False, False]


def test_raster_has_x_to_the_right_y_upwards_and_the_highest_point():
    points = np.array(
        [[-9.9, 4.1, 9.0], [-9.9, 4.1, -9.0], [5.1, -9.9, -9.0], [np.nan, 0, 0], [10.1, 0, 0]]
    )
    image = rasterise(points, 10, 20)
    assert image.shape == (20, 20, 4)
    assert np.argwhere(image[..., 3] > 0).tolist() == [[0, 15], [14, 0]]
    np.testing.assert_allclose(image[14, 0, :3] * 255, rgb(HEIGHT_RAMP[-1]))
    np.testing.assert_allclose(image[0, 15, :3] * 255, rgb(HEIGHT_RAMP[0]))
    assert image[14, 0, 3] > image[0, 15, 3]


@pytest.mark.parametrize(("range_m", "step"), [(54, 10), (51.2, 10), (75, 20), (20, 5), (5, 1)])
def test_rings(range_m, step):
    assert ring_step_m(range_m) == step


def test_classes_have_their_own_colours():
    colours = class_colours(NUSCENES_CLASSES)
    assert len(set(colours)) == 10
    assert class_colours(["tram", "car"])[1] == colours[0]


def test_picture_shows_boxes_where_they_are(tmp_path):
    path = tmp_path / "new" / "view.png"
    detections = boxes_of(
        [20, 30, 0, 10, 4, 2, 0], [-30, -20, 0, 8, 3, 2, np.pi / 2], labels=[0, 1]
    )
    truth = boxes_of([-30, 30, 0, 10, 10, 2, 0])
    draw_bev(
        NO_POINTS,
        detections.boxes,
        detections.labels,
        detections.scores,
        NUSCENES_CLASSES,
        path=path,
        gt=truth,
    )
    image = read(path)
    assert image.shape[:2] == (TOP_PX + 1400 + BOTTOM_PX, LEFT_PX + 1400 + RIGHT_PX)
    car, truck = (rgb(c) for c in class_colours(NUSCENES_CLASSES)[:2])
    # Front edge, side and nose of the car; the nose beyond the front of the truck points up.
    for x, y in ((25, 31), (21, 32), (25.6, 30)):
        np.testing.assert_allclose(pixel(image, x, y), car, atol=12)
    np.testing.assert_allclose(pixel(image, -30, -15.5), truck, atol=12)
    assert (np.abs(pixel(image, -30, -24.5) - truck) > 50).any()
    # The dashes of the annotated box are white, its inside is empty.
    edge = np.array([pixel(image, -35, y) for y in np.linspace(26, 34, 200)])
    assert 0.3 < (edge.min(axis=1) > 200).mean() < 0.9
    np.testing.assert_allclose(pixel(image, -32, 33), pixel(image, 45, 50), atol=2)


def test_points_are_drawn_where_they_are(tmp_path):
    path = tmp_path / "view.png"
    points = np.array([[33.0, 12.0, 9.0, 0, 0]] * 8, np.float32)
    draw_bev(points, np.zeros((0, 9)), [], [], NUSCENES_CLASSES, path=path, range_m=50)
    np.testing.assert_allclose(
        pixel(read(path), 33.07, 12.07, range_m=50), rgb(HEIGHT_RAMP[-1]), atol=4
    )


def test_pair_shows_detections_left_and_truth_right(tmp_path):
    path = tmp_path / "pair.png"
    rows = [20, 30, 0, 10, 4, 2, 0], [-30, -20, 0, 10, 4, 2, 0]
    draw_bev_pair(NO_POINTS, boxes_of(rows[0]), boxes_of(rows[1]), NUSCENES_CLASSES, path=path)
    image = read(path)
    car = rgb(class_colours(NUSCENES_CLASSES)[0])
    for column, x, y in ((0, 21, 32), (1, -29, -18)):
        np.testing.assert_allclose(pixel(image, x, y, map_px=1000, column=column), car, atol=12)
        other = pixel(image, x, y, map_px=1000, column=1 - column)
        assert (np.abs(other - car) > 50).any()


def test_long_titles_keep_both_ends():
    assert shortened("frame.bin") == "frame.bin"
    assert shortened("a" * 60 + "b" * 60) == "a" * 24 + "…" + "b" * 24


def test_legend_counts_what_is_in_view():
    from padre3d.visual.bev import _legend_handles

    shown, truth = boxes_of(*[[0, 0, 0, 1, 1, 1, 0]] * 3, labels=[0, 9, 9]), boxes_of(labels=[])
    labels = [h.get_label() for h in _legend_handles(shown, NUSCENES_CLASSES, None)]
    assert labels == ["car  1", "traffic cone  2"]
    labels = [h.get_label() for h in _legend_handles(truth, NUSCENES_CLASSES, shown)]
    assert labels == ["car  0 / 1", "traffic cone  0 / 2", "/ ground truth  3"]
    labels = [h.get_label() for h in _legend_handles(truth, NUSCENES_CLASSES, None)]
    assert labels == ["no boxes"]


def test_bad_input_writes_nothing(tmp_path):
    path = tmp_path / "view.png"
    with pytest.raises(ValueError, match="range_m: expected a positive number of metres, got 0"):
        draw_bev(NO_POINTS, np.zeros((0, 9)), [], [], NUSCENES_CLASSES, path=path, range_m=0)
    with pytest.raises(ValueError, match=r"boxes: expected shape \(K, 9\), got \(1, 7\)"):
        draw_bev(NO_POINTS, np.ones((1, 7)), [0], None, NUSCENES_CLASSES, path=path)
    assert not path.exists()


def test_axis_labels_and_marker_of_another_frame():
    sheet = Sheet(1, 400, 20.0)
    axes = sheet.add_map(0, "", ("x, forward (m)", "y, left (m)"), 0.0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x, forward (m)", "y, left (m)")
    (marker,) = (line.get_marker() for line in axes.lines)
    # Three corners, filled, turned clockwise by a quarter: it points along x.
    assert marker == (3, 0, -90)
