"""Graphs with fixed numbers of pillars, from frames that have more."""

import pytest
import small_detector
import torch
from same_outputs import assert_close_to_largest

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from padre3d.deploy import Runtime  # noqa: E402
from padre3d.export import export  # noqa: E402


def test_several_sizes_and_frames_larger_than_each(tmp_path):
    """Traced, calibrated and compared on the pillars that the runtime would keep."""
    detector = small_detector.build(num_blocks=1)
    clouds = {name: small_detector.cloud(n) for name, n in (("large", 800), ("small", 60))}
    config, out = export.ExportConfig(sizes=(80, 200)), tmp_path / "out"
    _, results = export.export_detector(detector, clouds, out, config, [*clouds.values()])
    count = results[1].pillars
    assert 0 < count < 80
    assert [(result.frame, result.pillars) for result in results] == [
        *(("large, nearest 80", 80), ("small", count)),
        *(("large, nearest 200", 200), ("small", count)),
    ]
    assert max(result.worst for result in results) < 1e-4
    large = clouds["large"]
    with Runtime(out) as runtime, torch.no_grad():
        found = runtime.outputs(*runtime.encode(large.numpy()))
        kept = export.nearest_pillars(detector.pillar_encoder([large]), detector.grid, 200)
        expected = detector.forward_pillars(kept)
    assert runtime.last.dropped == runtime.last.pillars - 200 > 0
    actual = torch.from_numpy(found["dense_heatmap"])
    assert_close_to_largest(actual, expected.dense_heatmap)


@pytest.mark.parametrize("sizes", [(0,), (1, 60), (60, 60)])
def test_numbers_of_pillars_that_are_none(sizes):
    """Zero is no word for any number, and a graph would be written over its twin."""
    with pytest.raises(ValueError, match="sizes: expected different numbers of 2 or more, got"):
        export.ExportConfig(sizes=sizes)
