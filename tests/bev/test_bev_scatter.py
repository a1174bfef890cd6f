"""Pillars onto the map: where they land, both forms, and gradients."""

import pytest
import torch

from padre3d.bev import cell_to_pillar_map, gather_to_map, scatter_to_map
from padre3d.structures.pillars import Pillars

NY, NX = 4, 6
COORDS = torch.tensor([[0, 0, 5], [0, 3, 1], [2, 0, 0], [2, 3, 5]])


@pytest.fixture(autouse=True, params=["AVX2", "AVX512"])
def vectors(request, monkeypatch):
    """Both memory formats of a training, whatever processor this is."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return request.param


def test_each_pillar_lands_in_its_cell(vectors):
    features = torch.arange(1.0, 9.0).view(4, 2)
    bev = scatter_to_map(Pillars(features, COORDS, 4), NY, NX)
    expected = torch.zeros(4, 2, NY, NX)
    for row, (b, y, x) in enumerate(COORDS.tolist()):
        expected[b, :, y, x] = features[row]
    assert torch.equal(bev, expected)
    assert bev.is_contiguous(memory_format=torch.channels_last) == (vectors == "AVX512")
    assert bev.is_contiguous() == (vectors == "AVX2")
    with torch.no_grad():
        bev = scatter_to_map(Pillars(features, COORDS, 4), NY, NX)
    assert torch.equal(bev, expected)
    assert bev.is_contiguous(memory_format=torch.channels_last)


def test_both_forms_agree_in_value_and_gradient():
    features = torch.randn(4, 3, requires_grad=True)
    weight = torch.randn(4, 3, NY, NX)
    bev = scatter_to_map(Pillars(features, COORDS, 4), NY, NX)
    gathered = gather_to_map(features, cell_to_pillar_map(COORDS, 4, NY, NX))
    assert torch.equal(bev, gathered)
    for result in (bev, gathered):
        (gradient,) = torch.autograd.grad((result * weight).sum(), features)
        b, y, x = COORDS.unbind(1)
        assert torch.equal(gradient, weight[b, :, y, x])


def test_no_pillars_give_an_empty_map():
    pillars = Pillars(torch.zeros(0, 3), torch.zeros((0, 3), dtype=torch.long), 2)
    assert torch.equal(scatter_to_map(pillars, NY, NX), torch.zeros(2, 3, NY, NX))
    cell_to_pillar = cell_to_pillar_map(pillars.coords, 2, NY, NX)
    assert torch.equal(gather_to_map(pillars.features, cell_to_pillar), torch.zeros(2, 3, NY, NX))
