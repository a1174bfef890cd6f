"""Padding to buckets changes nothing, whatever a bucket held before; on a GPU from graphs."""

import pytest
import torch

from padre3d.backbone import VoxelBackbone
from padre3d.backbone.cuda_graphs import GraphedBackbone
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars

pytestmark = pytest.mark.usefixtures("on_kernel_device")
GRID = PillarGrid((0.0, 0.0, -5.0, 16.0, 16.0, 3.0), (1.0, 1.0))


def backbone(impl="eager", **arguments):
    torch.manual_seed(0)
    mixer = {"type": "padre", "impl": impl}
    options = {"dim": 16, "num_blocks": 1, "ffn_dim": 32, "window": (8, 8), "shifts": ((0, 0),)}
    return VoxelBackbone(GRID, mixer=mixer, **(options | arguments)).eval()


def cloud(counts, seed):
    torch.manual_seed(seed)
    coords = []
    for batch, count in enumerate(counts):
        cell = torch.randperm(GRID.ny * GRID.nx)[:count].sort().values
        columns = [torch.full_like(cell, batch), cell // GRID.nx, cell % GRID.nx]
        coords.append(torch.stack(columns, 1))
    return Pillars(torch.randn(sum(counts), 16), torch.cat(coords), len(counts))


@pytest.mark.parametrize("impl", ["eager", "triton"])
def test_frames_that_share_a_bucket_are_as_without(impl):
    if impl == "triton":
        pytest.importorskip("triton", reason="Triton is not installed")
    model = backbone(impl)
    graphed = GraphedBackbone(model, bucket=32)
    for seed, counts in enumerate([(31,), (20,), (32,), (20, 9), (3, 25)]):
        pillars = cloud(counts, seed)
        with torch.no_grad():
            expected = model(pillars).features
        out = graphed(pillars.features, model.plan(pillars))
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert len(graphed._graphs) == 2


def test_only_sequences_in_evaluation():
    with pytest.raises(ValueError, match="tokens='set'"):
        GraphedBackbone(backbone(tokens="set"))
    with pytest.raises(ValueError, match="training=True"):
        GraphedBackbone(backbone().train())
    grid = {"type": "padre", "layout": "grid", "kernel_size": 3}
    for mixers in ([grid], [grid, {"type": "padre"}]):
        with pytest.raises(ValueError, match="grid layers=True"):
            GraphedBackbone(backbone(mixers=mixers))


def test_no_descriptors_between_blocks():
    pytest.importorskip("spconv")
    with pytest.raises(ValueError, match="submconv_each"):
        GraphedBackbone(backbone(num_blocks=2, local_descriptor="submconv_each"))
