"""Every mixer by its name in a detector's config: one training step, one detection."""

import pytest
import torch

from padre3d.mixers import MIXERS

small_detector = pytest.importorskip("small_detector", reason="needs mmdet3d")


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_trains_and_detects(name):
    model = small_detector.build(mixer=small_detector.mixer_config(name))
    layers = [layer for block in model.backbone.blocks for layer in block.layers]
    assert [type(layer.mixer) for layer in layers] == [MIXERS[name]] * 4

    clouds = [small_detector.cloud(800, 1), small_detector.cloud(500, 2)]
    with torch.no_grad():
        results = model.test_step(small_detector.batch(clouds))
    for sample in results:
        small_detector.assert_sane(sample.pred_instances_3d, model)

    gradients = small_detector.gradients(model, small_detector.batch(clouds))
    ours = {n: g for n, g in gradients.items() if ".mixer." in n}
    assert ours
    for parameter, gradient in ours.items():
        assert gradient is not None, parameter
        assert gradient.isfinite().all(), parameter
    assert sum(g.abs().sum() > 0 for g in ours.values()) > 0.9 * len(ours)
