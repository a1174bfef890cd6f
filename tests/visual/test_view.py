"""The page in three dimensions, as far as it can be told without a browser."""

import base64
import json
import re

import numpy as np
import pytest

from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.visual import Page
from padre3d.visual.thin import thin
from padre3d.visual.view import FRAME_POINTS, MAX_FRAMES, PAGE_POINTS
from padre3d.visual.wireframe import PEN, box_lines, box_texts

MEGABYTE = 1e6


def detections(*rows, scores=None, labels=None):
    boxes = np.array(rows, float).reshape(-1, 9)
    count = len(boxes)
    scores = np.ones(count) if scores is None else np.array(scores)
    return Detections(boxes, scores, np.array(labels or [0] * count, int))


CAR = (10.0, 20.0, -1.0, 4.0, 2.0, 1.5, np.pi / 2, 0.0, 3.0)
CONE = (5.0, 5.0, -1.5, 0.4, 0.4, 0.8, 0.0, np.nan, np.nan)


def scene_of(path):
    (text,) = re.findall(
        r'<script type="application/json" id="scene">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return json.loads(text)


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def sweep(count, seed=0):
    """More points near the sensor than far away, as a LiDAR gives them."""
    random = np.random.default_rng(seed)
    radius, angle = 60 * random.random(count) ** 2, random.uniform(-np.pi, np.pi, count)
    z, intensity = random.uniform(-2, 2, count), random.uniform(0, 100, count)
    lag = random.integers(0, 10, count) * 0.05
    columns = [radius * np.cos(angle), radius * np.sin(angle), z, intensity, lag]
    return np.column_stack(columns).astype(np.float32)


# Thinning


def test_few_points_stay_all():
    rows, cube_m = thin(np.zeros((3, 3)), 3)
    assert rows.tolist() == [0, 1, 2]
    assert cube_m == 0


def test_thinning_keeps_one_point_a_cube_and_lone_ones():
    dense = np.random.default_rng(0).uniform(0, 1, (5000, 3))
    lone = np.array([[40.0, 0, 0], [0, 40, 0], [0, 0, 40]])
    xyz = np.concatenate([dense, lone])
    rows, cube_m = thin(xyz, 200)
    assert 100 < len(rows) <= 200
    assert {5000, 5001, 5002} <= set(rows)
    cells = np.floor((xyz[rows] - xyz.min(0)) / cube_m)
    assert len(np.unique(cells, axis=0)) == len(rows)


def test_thinning_needs_room_for_a_point():
    with pytest.raises(ValueError, match="expected 1 or more"):
        thin(np.zeros((3, 3)), 0)


# Boxes


def test_lines_have_the_corners_the_heading_and_a_cross():
    (line,) = box_lines(np.array([CAR]))
    assert line.shape == (len(PEN), 3)
    corners = {tuple(np.round(p, 6)) for p in line[~np.isnan(line[:, 0])]}
    wanted = {(x, y, z) for x in (9.0, 11.0) for y in (18.0, 22.0) for z in (-1.75, -0.25)}
    assert corners == wanted | {(10.0, 20.0, -1.0), (10.0, 22.8, -1.0)}  # the nose looks along +y
    # Both strokes of the cross lie in the front.
    drawn = list(zip(line[:-1], line[1:], strict=True))
    diagonals = [(a, b) for a, b in drawn if abs(np.linalg.norm(a - b) - 2.5) < 1e-9]
    assert len(diagonals) == 2
    assert all(a[1] == b[1] == 22 for a, b in diagonals)


def test_boxes_without_heading_have_no_nose():
    lines = box_lines(np.array([CAR, CONE]), np.array([True, False]))
    corners = [len({tuple(p) for p in line[~np.isnan(line[:, 0])]}) for line in lines]
    assert corners == [10, 9]


def test_hover_says_name_score_size_and_speed():
    car, cone = box_texts(detections(CAR, CONE, labels=[0, 9]), NUSCENES_CLASSES, True)
    assert car.startswith("car, score 1.00<br>4.0 x 2.0 x 1.5 m, speed 3.0 m/s<br>22 m away")
    assert cone.startswith("traffic cone, score 1.00<br>0.4 x 0.4 x 0.8 m, speed unknown")
    (truth,) = box_texts(detections(CAR), NUSCENES_CLASSES, False)
    assert "ground truth" in truth


# The file


@pytest.fixture
def plotly():
    return pytest.importorskip("plotly")


def test_a_page_of_ten_sweeps_is_thinned_says_so_and_is_below_15_megabytes(tmp_path, plotly):
    page = Page(NUSCENES_CLASSES)
    page.add("a", sweep(240_000), detections(*[CAR] * 200))
    path = tmp_path / "new" / "view.html"
    page.save(path)
    assert path.stat().st_size < 15 * MEGABYTE
    (frame,) = scene_of(path)["frames"]
    shown = len(numbers(frame["intensity"], "u1"))
    assert 0.5 * FRAME_POINTS < shown < FRAME_POINTS
    note = f"{shown:,} of 240,000 points shown: those within the view, thinned to one in each cube"
    assert frame["note"].startswith(note)


def test_many_frames_share_the_points_of_a_page(tmp_path, plotly, monkeypatch):
    """A page full of points stays below 15 MB: eight bytes a point, written with four thirds."""
    assert PAGE_POINTS * 8 * 4 / 3 + 5 * MEGABYTE < 14 * MEGABYTE
    monkeypatch.setattr("padre3d.visual.view.PAGE_POINTS", 600)
    page = Page(NUSCENES_CLASSES)
    for number in range(4):
        page.add(str(number), sweep(1000), Detections.empty())
    page.save(tmp_path / "a.html")
    frames = scene_of(tmp_path / "a.html")["frames"]
    shown = [len(numbers(frame["intensity"], "u1")) for frame in frames]
    assert all(50 < count <= 150 for count in shown)
    assert all(f"{count} of 1,000" in f["note"] for count, f in zip(shown, frames, strict=True))


def test_points_come_back(tmp_path, plotly):
    points = np.array(
        [
            [1.234, -20, 2, 7, 0.5],
            [53, 3, 1, 255, 0],
            [55, 0, 0, 1, 0],
            [0, 0, 9, 1, 0],
            [np.nan] * 5,
        ],
        np.float32,
    )
    page = Page(NUSCENES_CLASSES)
    page.add("a", points, Detections.empty())
    page.save(tmp_path / "a.html")
    scene = scene_of(tmp_path / "a.html")
    (frame,) = scene["frames"]
    assert numbers(frame["xyz"], "<i2").reshape(3, -1).T.tolist() == [
        [123, -2000, 200],
        [5300, 300, 100],
    ]
    intensities = numbers(frame["intensity"], "u1") * scene["intensity_top"] / 255
    np.testing.assert_allclose(intensities, [7, 250], atol=0.5)
    np.testing.assert_allclose(numbers(frame["lag"], "u1") * frame["lag_s"] / 255, [0.5, 0])
    assert frame["note"].startswith("2 of 5 points shown: those within the view. ")


@pytest.mark.parametrize("most", [1.0, 255.0, 65535.0])
def test_intensities_are_stored_in_steps_of_what_the_colour_bar_spans(tmp_path, plotly, most):
    points = np.zeros((101, 5), np.float32)
    points[:, 0], points[:, 3] = np.arange(101) / 4, most * np.arange(101) / 100
    points[-1, 3] = 10 * most  # one that strays
    page = Page(NUSCENES_CLASSES)
    page.add("a", points, Detections.empty())
    page.save(tmp_path / "a.html")
    scene = scene_of(tmp_path / "a.html")
    (high,) = [mode["high"] for mode in scene["colours"] if mode["name"] == "intensity"]
    assert scene["intensity_top"] == high == pytest.approx(0.98 * most)
    shown = numbers(scene["frames"][0]["intensity"], "u1") * scene["intensity_top"] / 255
    np.testing.assert_allclose(shown, np.minimum(points[:, 3], high), atol=most / 500)


def test_boxes_outside_the_view_stay_out(tmp_path, plotly):
    far = (80.0, *CAR[1:])
    page = Page(NUSCENES_CLASSES)
    page.add(
        "a", sweep(10), detections(CAR, far, scores=[0.5, 0.9], labels=[1, 2]), detections(CAR)
    )
    page.save(tmp_path / "a.html")
    scene = scene_of(tmp_path / "a.html")
    assert [c["name"] for c in scene["classes"]] == ["truck"]
    assert scene["has_truth"]
    assert scene["frames"][0]["found"]["scores"] == [0.5]
    assert numbers(scene["frames"][0]["truth"]["lines"], "<f4").size == 3 * len(PEN)


def test_names_cannot_end_the_script(tmp_path, plotly):
    page = Page(["</script><script>alert(1)</script>"])
    page.add("</script>", sweep(10), detections(CAR))
    page.save(tmp_path / "a.html")
    assert scene_of(tmp_path / "a.html")["frames"][0]["name"] == "</script>"
    assert "alert(1)</script>" not in (tmp_path / "a.html").read_text()


def test_of_very_many_frames_every_nth_is_kept(tmp_path, plotly):
    page = Page(NUSCENES_CLASSES)
    for number in range(3 * MAX_FRAMES):
        page.add(str(number), sweep(5), Detections.empty())
    page.save(tmp_path / "a.html")
    frames = scene_of(tmp_path / "a.html")["frames"]
    assert [frame["name"] for frame in frames] == [str(k) for k in range(0, 3 * MAX_FRAMES, 4)]
    assert f"Every 4th of {3 * MAX_FRAMES} frames" in frames[0]["note"]


def test_a_cloud_without_points_or_boxes(tmp_path, plotly):
    page = Page(NUSCENES_CLASSES)
    page.add("nothing", np.zeros((0, 5), np.float32), Detections.empty())
    page.save(tmp_path / "a.html")
    scene = scene_of(tmp_path / "a.html")
    assert [c["name"] for c in scene["colours"]] == ["height"]


@pytest.mark.parametrize("range_m", [0, -1, 301, np.nan])
def test_impossible_range(range_m):
    with pytest.raises(ValueError, match="range_m: expected"):
        Page(NUSCENES_CLASSES, range_m=range_m)


def test_impossible_frames(tmp_path):
    page = Page(NUSCENES_CLASSES)
    with pytest.raises(ValueError, match="at least one frame"):
        page.save(tmp_path / "a.html")
    with pytest.raises(ValueError, match=r"expected shape \(P, >= 3\)"):
        page.add("a", np.zeros((4, 2)), Detections.empty())
    with pytest.raises(ValueError, match="boxes: expected shape"):
        page.add("a", sweep(4), Detections(np.zeros((1, 7)), [1], [0]))
