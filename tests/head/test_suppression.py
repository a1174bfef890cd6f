"""What becomes of the boxes of the classes that go through suppression, by a loop over them."""

import dataclasses

import pytest
import torch
from perfect_outputs import GRID, outputs_that_say
from shapely import affinity, box

from padre3d.head.decode import decode_detections
from padre3d.head.settings import DecodeSettings
from padre3d.structures.grid import PillarGrid


def crowd(count=60, seed=0):
    """Boxes on top of each other, of the classes 0 (no suppression), 8 and 9."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 9, generator=generator) * 6 - 3
    boxes[:, 3:6] = 0.5 + 3 * torch.rand(count, 3, generator=generator)
    labels = torch.tensor([0, 8, 9])[torch.randint(0, 3, (count,), generator=generator)]
    return boxes, labels, torch.rand(count, generator=generator)


def polygon(row, rotated):
    x, y, _, length, width, _, yaw = row[:7].tolist()
    flat = box(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
    return affinity.rotate(flat, yaw if rotated else 0, use_radians=True)


def kept_by_loop(boxes, labels, scores, settings):
    """Rows, ascending; the scores are those after the rescoring."""
    kept = [i for i, label in enumerate(labels.tolist()) if label not in settings.nms_classes]
    shapes = [polygon(row, settings.nms_rotated) for row in boxes]
    for label in settings.nms_classes:
        rows = [i for i in range(len(boxes)) if labels[i] == label]
        rows = [i for i in rows if scores[i] >= settings.nms_score_thr]
        rows = sorted(rows, key=lambda i: -scores[i])[: settings.nms_pre]
        chosen = []
        for i in rows:
            overlaps = [
                shapes[i].intersection(shapes[j]).area / shapes[i].union(shapes[j]).area
                for j in chosen
            ]
            if all(overlap <= settings.nms_iou for overlap in overlaps):
                chosen.append(i)
        kept += chosen[: settings.nms_max]
    return sorted(kept)


CHOICES = {
    "published": {},
    "axis-aligned": dict(nms_rotated=False),
    "few candidates": dict(nms_pre=7),
    "score": dict(nms_score_thr=0.4),
    "at most": dict(nms_max=3),
    "other classes": dict(nms_classes=(0, 8, 9), nms_iou=0.7),
    "none": dict(nms_classes=()),
    "all": dict(nms_rotated=False, nms_pre=15, nms_score_thr=0.3, nms_max=6, nms_iou=0.3),
}


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_equals_the_loop(name):
    settings = DecodeSettings(iou_alpha=None, **CHOICES[name])
    boxes, labels, scores = crowd()
    outputs = outputs_that_say(boxes, labels, scores)
    found = decode_detections(outputs, PillarGrid(**GRID), settings)[0]
    rows = kept_by_loop(boxes, labels, scores, settings)
    torch.testing.assert_close(found.boxes[:, :6], boxes[rows][:, :6], atol=1e-5, rtol=1e-5)
    assert torch.equal(found.labels, labels[rows])
    # Every choice but the published one leads to other boxes.
    published = kept_by_loop(boxes, labels, scores, DecodeSettings(iou_alpha=None))
    assert (rows == published) == (name == "published")


def test_the_threshold_of_the_suppression_is_on_the_rescored_score():
    boxes, labels, scores = crowd()
    outputs = outputs_that_say(boxes, labels, scores)
    outputs = outputs._replace(iou=torch.full_like(outputs.iou, -0.5))
    settings = DecodeSettings(iou_alpha=0.5, nms_score_thr=0.3)
    found = decode_detections(outputs, PillarGrid(**GRID), settings)[0]
    rescored = (scores * 0.25).sqrt()
    rows = kept_by_loop(boxes, labels, rescored, settings)
    torch.testing.assert_close(found.scores, rescored[rows])
    without = kept_by_loop(boxes, labels, scores, dataclasses.replace(settings, nms_score_thr=0))
    assert len(rows) < len(without)
