"""Settings that name classes follow the class list of the model."""

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.registry import DefaultScope
from small_detector import MODEL, batch, cloud, losses, sample

from padre3d.structures.classes import NUSCENES_CLASSES

MANY = tuple(f"class {i}" for i in range(20))
LISTS = {
    "one": (("car",), ()),
    "three": (("traffic_cone", "shuttle", "pedestrian"), (0, 2)),
    "ten reordered": (NUSCENES_CLASSES[::-1], (0, 1)),
    "23": (("tram", "pedestrian", *MANY, "traffic_cone"), (1, 22)),
    "of KITTI": (("Car", "Pedestrian", "Cyclist"), (1,)),
}


def build(classes, head=None, **settings):
    cfg = {**MODEL, "class_names": classes, **settings}
    cfg["head"] = {**MODEL["head"], **(head or {})}
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return MODELS.build(cfg)


@pytest.mark.parametrize(("classes", "points"), LISTS.values(), ids=LISTS)
def test_point_classes_are_found_by_name(classes, points):
    model = build(classes)
    assert model.head.selector.point.flatten().nonzero().flatten().tolist() == list(points)
    assert model.head.decode_settings.nms_classes == points


def test_ten_usual_classes_are_as_before():
    settings = build(NUSCENES_CLASSES).head.decode_settings
    assert settings.nms_classes == (8, 9)
    assert settings.centre_range_m == (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)


def test_names_can_be_given():
    head = dict(point_classes=("dog",), decode=dict(nms_classes=("dog", "shuttle")))
    model = build(("shuttle", "pedestrian", "dog"), head)
    assert model.head.selector.point.flatten().tolist() == [False, False, True]
    assert model.head.decode_settings.nms_classes == (2, 0)


def test_boxes_are_kept_as_far_as_the_map_reaches():
    grid = dict(range_m=(0.0, -72.0, -5.0, 144.0, 72.0, 3.0), cell_m=(1.2, 1.2))
    kept = build(("car",), grid=grid).head.decode_settings.centre_range_m
    assert kept == pytest.approx((-61.2, -79.2, -10.0, 151.2, 79.2, 10.0))


@pytest.mark.parametrize("name", ["one", "three", "23"])
def test_a_detector_of_any_class_list_learns_and_detects(name):
    classes, _ = LISTS[name]
    model = build(classes).train()
    truth = sample(labels=torch.arange(3) % len(classes))
    loss = losses(model, batch([cloud(800, 1)], [truth]))
    sum(v for k, v in loss.items() if k.startswith("loss")).backward()
    assert all(np.isfinite(float(value)) for value in loss.values())
    labels = model.eval().predict_points([cloud(800, 1)])[0].labels
    assert len(labels)
    assert labels.max() < len(classes)
