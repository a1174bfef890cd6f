"""The page in headless Chromium: it draws, its controls work, it complains of nothing."""

import io

import numpy as np
import pytest
from browser import Browser

from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.visual import Page

DRAWN = "document.body && document.body.dataset.drawn === 'yes'"


def frame(x_m, scores):
    """A wall of points and as many large boxes as there are scores."""
    wall = np.stack(np.meshgrid(np.linspace(-20, 20, 40), np.linspace(-2, 3, 20)), -1)
    wall = wall.reshape(-1, 2)
    rest = np.column_stack([wall[:, 1], 5 * np.abs(wall[:, 0]), np.abs(wall[:, 0]) / 40])
    points = np.column_stack([wall[:, 0], np.full(len(wall), 20.0), rest]).astype(np.float32)
    boxes = [[x_m, 6.0 * k, 0, 20, 5, 4, 0, 1, 0] for k in range(len(scores))]
    labels = np.arange(len(scores))
    return points, Detections(np.array(boxes), np.array(scores), labels)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("plotly")
    folder = tmp_path_factory.mktemp("view")
    page = Page(NUSCENES_CLASSES, range_m=25, score_thr=0.3)
    truth = Detections(np.array([[0.0, -12, 0, 20, 5, 4, 0, 0, 0]]), np.ones(1), np.zeros(1, int))
    page.add("first", *frame(0, [0.9, 0.5, 0.2]), truth)
    page.add("second", *frame(5, [0.8]))
    page.save(folder / "view.html")
    with Browser(folder / "profile") as opened:
        opened.open(folder / "view.html", DRAWN)
        yield opened


def pixels(browser):
    from matplotlib.image import imread

    return imread(io.BytesIO(browser.screenshot()))[..., :3]


def move(browser, name, value):
    browser.evaluate(
        f"byId('{name}').value = {value}; byId('{name}').dispatchEvent(new Event('input')); null"
    )


def legend(browser):
    return browser.evaluate("view.data.map((trace) => trace.name)")


def test_cloud_and_boxes_are_drawn(browser):
    image = pixels(browser)
    # The wall, in the colours of the height, and the outlines of the car and the ground truth.
    assert (np.ptp(image.reshape(-1, 3), axis=0) > 0.8).all()
    assert legend(browser) == ["points", "car 1", "truck 1", "construction vehicle 0"] + [
        "ground truth 1"
    ]
    assert browser.evaluate("view.data[1].text[0]").startswith("car, score 0.90<br>20.0 x 5.0")


def test_score_slider_hides_boxes(browser):
    before = pixels(browser)
    move(browser, "score", 0.95)
    browser.wait("view.data[1].x.length === 0")
    assert legend(browser)[1:] == ["car 0", "truck 0", "construction vehicle 0", "ground truth 1"]
    hidden = pixels(browser)
    assert (np.abs(hidden - before).max(-1) > 0.1).sum() > 200
    move(browser, "score", 0.1)
    assert legend(browser)[1:4] == ["car 1", "truck 1", "construction vehicle 1"]
    move(browser, "score", 0.3)
    assert (np.abs(pixels(browser) - before).max(-1) > 0.1).sum() < 20


def test_points_take_other_colours(browser):
    before = pixels(browser)
    for number, name in ((1, "intensity"), (2, "time lag")):
        browser.evaluate(f"document.querySelectorAll('#colours button')[{number}].click(); null")
        browser.wait(f"view.data[0].marker.colorbar.title.text.startsWith('{name}')")
        assert (np.abs(pixels(browser) - before).max(-1) > 0.1).sum() > 200
    browser.evaluate("document.querySelectorAll('#colours button')[0].click(); null")


def test_a_class_is_switched_off_and_stays_off_in_the_next_frame(browser):
    browser.click("document.querySelectorAll('.legendtoggle')[1]")
    browser.wait("view._fullData[1].visible === 'legendonly'")
    move(browser, "frame", 1)
    browser.wait("byId('name').textContent === 'second'")
    assert legend(browser)[1:] == ["car 1", "truck 0", "construction vehicle 0", "ground truth 0"]
    assert browser.evaluate("view._fullData[1].visible") == "legendonly"
    move(browser, "frame", 0)


def test_play_goes_through_the_frames(browser):
    browser.evaluate("byId('play').click(); null")
    for name in ("second", "first"):
        browser.wait(f"byId('name').textContent === '{name}'")
    browser.evaluate("byId('play').click(); null")
    assert browser.evaluate("byId('play').textContent") == "play"


def test_nothing_is_complained_of_and_nothing_asked_from_a_network(browser):
    assert browser.complaints == []
    assert browser.requests == []
