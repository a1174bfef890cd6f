"""Axes, yaw, height and map orientation on data nobody here made: one annotated nuScenes sweep.

A small detector trains on the sweep, turned and mirrored anew in every step, then on the sweep as
it is until it finds its boxes, from the file to the boxes in mmdet3d's format and back. The fixed
sweep alone would not do: a network learns it by heart even with x and y of the map exchanged, so
most boxes must be there before.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet3d")
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from scipy.optimize import linear_sum_assignment
from small_detector import batch, sample

from padre3d.detector import to_gravity_boxes
from padre3d.io import load_points
from padre3d.io.boxes_json import read_boxes_json
from padre3d.plugin import MODELS
from padre3d.structures.boxes import Detections
from padre3d.structures.classes import NUSCENES_CLASSES
from padre3d.visual import draw_bev

SWEEP = "n015-2018-07-24-11-22-45+0800__LIDAR_TOP__1532402927647951.pcd.bin"
ANNOTATION = "n015-2018-07-24-11-22-45+0800.json"
CONFIGS = {"sequence": "dsvt_padre2_synthetic.py", "grid": "study_grid_blocks_synthetic.py"}
FEWEST_POINTS = 5
TURNED_STEPS, FIXED_STEPS = 600, 250
PEAK_RATES = (3e-3, 1e-3)
LEAST_SCORE = 0.1
NEAR_M = 1.0
# Their heading can be seen: these are longer than wide.
LONG = [NUSCENES_CLASSES.index(name) for name in ("car", "truck", "bus")]
SIZES = dict(
    grid=dict(cell_m=(0.45, 0.45)),
    pillar_encoder=dict(filters=(32, 32)),
    backbone=dict(dim=32, ffn_dim=64),
    bev_backbone=dict(in_channels=32, channels=(32, 48, 64), up_channels=(32, 32, 32)),
    head=dict(in_channels=96, channels=48, ffn_channels=96, num_proposals=100),
)


@pytest.fixture(scope="module")
def frame(real_dir):
    """The points (P, 5), and the annotated boxes in range with enough points."""
    annotated = read_boxes_json(
        real_dir / ANNOTATION, NUSCENES_CLASSES, min_lidar_pts=FEWEST_POINTS
    )
    inside = np.abs(annotated.boxes[:, :2]).max(1) < 54
    return load_points(real_dir / SWEEP), annotated.select(inside)


def build(repo_root, config):
    cfg = Config.fromfile(repo_root / "configs" / config)
    cfg.merge_from_dict(dict(model=SIZES))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return MODELS.build(cfg.model)


def turned(points, boxes, angle_rad, mirror):
    """Points (P, 5) and boxes (M, 9) turned counter-clockwise; mirror -1: after y -> -y."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    turn = points.new_tensor([[cos, sin], [-mirror * sin, mirror * cos]])
    points, boxes = points.clone(), boxes.clone()
    points[:, :2] @= turn
    boxes[:, :2] @= turn
    boxes[:, 7:9] @= turn
    boxes[:, 6] = mirror * boxes[:, 6] + angle_rad
    return points, boxes


def train(model, frames, steps, peak_rate):
    """One-cycle training; ``frames()`` gives the points, boxes and labels of a step."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, steps, pct_start=0.3)
    wrapper = OptimWrapper(optimizer, clip_grad=dict(max_norm=10))
    for _ in range(steps):
        points, boxes, labels = frames()
        log = model.train_step(batch([points], [sample(boxes, labels)]), wrapper)
        schedule.step()
    return {name: round(float(value), 4) for name, value in log.items()}


def predict(model, points):
    """What ``test_step`` gives, as arrays with gravity centres."""
    with torch.no_grad():
        detections = model.eval().test_step(batch([points]))[0].pred_instances_3d
    boxes = to_gravity_boxes(detections.bboxes_3d).double()
    values = (v.numpy() for v in (boxes, detections.scores_3d.double(), detections.labels_3d))
    detections = Detections(*values)
    return detections.select(detections.scores >= LEAST_SCORE)


def pairs(detections, annotated):
    """Rows of found and annotated boxes of one class whose centres are near, each used once."""
    distance = np.linalg.norm(detections.boxes[:, None, :2] - annotated.boxes[None, :, :2], axis=2)
    possible = (distance < NEAR_M) & (detections.labels[:, None] == annotated.labels)
    rows = np.stack(linear_sum_assignment(np.where(possible, distance, 1e3)), 1)
    return rows[possible[tuple(rows.T)]].T


def count_inside(points, box):
    """Points inside a box (9,)."""
    x, y, z = (points[:, :3] - box[:3]).T
    along = x * math.cos(box[6]) + y * math.sin(box[6])
    across = y * math.cos(box[6]) - x * math.sin(box[6])
    offsets = np.abs([along, across, z]).T
    return int((offsets <= box[3:6] / 2).all(1).sum())


def measure(detections, annotated, points):
    """How well the found boxes match the annotated ones."""
    mine, theirs = pairs(detections, annotated)
    difference = detections.boxes[mine] - annotated.boxes[theirs]
    is_long = np.isin(annotated.labels[theirs], LONG)
    yaw_error = np.abs(np.remainder(difference[:, 6] + math.pi, 2 * math.pi) - math.pi)
    seen = [count_inside(points, detections.boxes[i]) for i in mine[is_long]]
    annotated_counts = [count_inside(points, annotated.boxes[i]) for i in theirs[is_long]]
    return dict(
        annotated=len(annotated.boxes),
        recall=len(mine) / len(annotated.boxes),
        precision=len(mine) / max(len(detections.boxes), 1),
        long_boxes=int(is_long.sum()),
        yaw_error_rad=float(yaw_error[is_long].mean()),
        z_error_m=float(np.abs(difference[:, 2]).mean()),
        centre_error_m=float(np.linalg.norm(difference[:, :2], axis=1).mean()),
        size_error_m=float(np.abs(difference[:, 3:6]).mean()),
        points_kept=sum(seen) / max(sum(annotated_counts), 1),
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("config", CONFIGS)
def test_the_boxes_of_a_real_sweep_are_found_again(repo_root, frame, tmp_path, config):
    points, annotated = frame
    model = build(repo_root, CONFIGS[config])
    cloud = torch.tensor(points)
    boxes, labels = torch.tensor(annotated.boxes).float(), torch.tensor(annotated.labels)
    draw = np.random.default_rng(0)

    def turned_frame():
        angle_rad, mirror = draw.uniform(-math.pi, math.pi), draw.choice([-1, 1])
        return *turned(cloud, boxes, angle_rad, mirror), labels

    log = train(model, turned_frame, TURNED_STEPS, PEAK_RATES[0])
    before = measure(predict(model, cloud), annotated, points)
    print(json.dumps(before | dict(losses=log), indent=1))
    assert before["recall"] >= 0.5, "of a sweep that was only seen turned"
    assert before["yaw_error_rad"] < 0.3
    log = train(model, lambda: (cloud, boxes, labels), FIXED_STEPS, PEAK_RATES[1])
    detections = predict(model, cloud)
    figures = measure(detections, annotated, points) | dict(losses=log)
    print(json.dumps(figures, indent=1))
    for folder in {tmp_path, Path(os.environ.get("PADRE3D_PICTURES", tmp_path))}:
        picture = folder / f"real_sweep_{config}.png"
        draw_bev(
            points,
            detections.boxes,
            detections.labels,
            detections.scores,
            NUSCENES_CLASSES,
            path=picture,
            gt=annotated,
            title="A real sweep: detections, annotated (dashed)",
        )
        assert picture.stat().st_size > 10_000
    assert figures["recall"] >= 0.9
    assert figures["precision"] >= 0.7
    assert figures["long_boxes"] >= 5
    assert figures["yaw_error_rad"] < 0.2
    assert figures["z_error_m"] < 0.2
    # The heading and the middle of the boxes are right enough to hold the points they should.
    assert figures["points_kept"] > 0.8
