"""Second derivatives and forward mode of convolutions over the occupied cells."""

import pytest
import torch

from padre3d.ops.padre.grid_conv import grid_convolution
from padre3d.structures.grid_index import GridIndex


@pytest.fixture
def case():
    torch.manual_seed(0)
    coords = torch.tensor([[0, y, x] for y, x in ((0, 0), (0, 1), (1, 1), (2, 3), (3, 3))])
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    return GridIndex.of(coords, 1, 4, 4), x, weight


@pytest.mark.parametrize("impl", ["neighbours", "map"])
def test_first_and_second_derivatives_are_those_of_differences(case, impl):
    index, *leaves = case

    def curved(x, weight):
        return grid_convolution(x, weight, None, index, impl=impl).pow(3)

    assert torch.autograd.gradcheck(curved, leaves)
    assert torch.autograd.gradgradcheck(curved, leaves)


def test_forward_mode_takes_the_map(case):
    index, x, weight = (t.detach() if isinstance(t, torch.Tensor) else t for t in case)
    direction = torch.randn_like(x), torch.randn_like(weight)

    def conv(x, weight, impl="auto"):
        return grid_convolution(x, weight, None, index, impl=impl).pow(2)

    _, tangent = torch.func.jvp(conv, (x, weight), direction)
    step = 1e-6
    ahead, behind = (conv(x + s * direction[0], weight + s * direction[1]) for s in (step, -step))
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * step), atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match="grid_impl: expected 'map' or 'auto' under forward-mode"):
        torch.func.jvp(lambda x: conv(x, weight, "neighbours"), (x,), direction[:1])


def test_hessian(case):
    index, x, weight = (t.detach() if isinstance(t, torch.Tensor) else t for t in case)

    def total(x):
        return grid_convolution(x, weight, None, index).pow(3).sum()

    hessian = torch.func.hessian(total)(x)
    expected = torch.autograd.functional.hessian(total, x)
    torch.testing.assert_close(hessian, expected)
