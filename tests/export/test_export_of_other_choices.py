"""A detector of other choices than the published ones gives the same boxes without torch."""

import numpy as np
import pytest
import small_detector
import torch
from mmengine.registry import DefaultScope

CHANGES = dict(
    pillar_encoder=dict(with_xyz=False, with_distance=True, with_norm=False),
    backbone=dict(
        mixer=dict(type="set_attention", num_heads=4, dropout=0.1),
        window=((8, 6), (16, 18)),
        shifts=((0, 0), (9, 4)),
        activation="relu",
        normalise_positions=True,
        dsvt_compat=True,
    ),
    bev_backbone=dict(strides=(2, 1), up_strides=(), up_channels=()),
    head=dict(
        in_channels=32,
        activation="gelu",
        iou_branch=False,
        branch_layers=dict(heatmap=3, vel=1),
        nms_kernel=5,
        decode=dict(
            iou_alpha=None, nms_rotated=False, nms_pre=12, nms_score_thr=0.05, nms_classes=(0, 3, 8)
        ),
    ),
)


@pytest.mark.slow
def test_points_to_boxes(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from padre3d.deploy import Runtime
    from padre3d.export.export import export_detector
    from padre3d.plugin import MODELS

    torch.manual_seed(0)
    config = {
        name: {**part, **CHANGES.get(name, {})} if isinstance(part, dict) else part
        for name, part in small_detector.MODEL.items()
    }
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        detector = MODELS.build(config).eval()
    cloud = small_detector.cloud(1500)
    export_detector(detector, {"frame": cloud}, tmp_path / "out", about={"config": "small.py"})
    detections = Runtime(tmp_path / "out")(cloud.numpy())
    with torch.no_grad():
        expected = detector.predict_points([cloud])[0]
    order = expected.scores.argsort(descending=True, stable=True)
    assert len(order) > 10
    np.testing.assert_allclose(detections.scores, expected.scores[order], atol=1e-4)
    np.testing.assert_allclose(detections.boxes, expected.boxes[order], atol=1e-3)
    np.testing.assert_array_equal(detections.labels, expected.labels[order])
