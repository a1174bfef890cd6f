"""Settings that contradict each other are refused where they are given."""

import pytest
import torch

from padre3d.mixers import PADRe
from padre3d.mixers.padre_cross import CrossPADRe
from padre3d.mixers.structure import Conv, Linear, PadreStructure, preset
from padre3d.structures.grid_index import GridIndex


def test_grid_layout_wants_convolutions_over_the_plane():
    with pytest.raises(ValueError, match="layout='grid': expected convolutions with dims=2, got d"):
        PADRe(8, structure=preset("sequence", 2, 3), layout="grid")
    assert PADRe(8, structure=preset("sequence", 2, 3, dims=2), layout="grid").layout == "grid"


def test_index_of_a_grid_wants_the_grid_layout():
    coords = torch.tensor([[0, 0, 0], [0, 1, 1]])
    x, index = torch.randn(1, 2, 8), GridIndex.of(coords, 1, 4, 4)
    with pytest.raises(ValueError, match="size: expected layout='grid' for the index of a grid"):
        PADRe(8, kernel_size=3)(x, size=index)
    assert PADRe(8, kernel_size=3, layout="grid")(x, size=index).shape == x.shape


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(a=(None, None), b=(Linear(),) * 2, c=()), "expected d, d, d-1, d-1 specs a, b, c, d"),
        (dict(a=(), b=()), "with d >= 1"),
        (dict(a=(Conv(3),), b=(Linear(),), terms=(5,)), r"terms: expected degrees in 1..1, got"),
    ],
)
def test_structures(fields, message):
    with pytest.raises(ValueError, match=message):
        PadreStructure(**fields)


def test_cross_padre():
    with pytest.raises(ValueError, match="orders: expected at least one sequence, got none"):
        CrossPADRe(8, orders=())
    out = CrossPADRe(8, kernel_size=3)([torch.randn(2, 5, 8), torch.randn(2, 0, 8)])
    assert out.isfinite().all()


@pytest.mark.parametrize("preset", ["sequence", "paper", "text"])
def test_compiles_in_one_graph(preset):
    mixer = PADRe(8, kernel_size=3, preset=preset)
    x = torch.randn(1, 6, 8)
    compiled = torch.compile(mixer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), mixer(x))
