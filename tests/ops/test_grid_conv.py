"""Convolutions over the occupied cells of a grid: values, gradients, the neighbours."""

import pytest
import torch
import torch.nn.functional as F
from random_structures import random_grid
from torch.utils.flop_counter import FlopCounterMode

from padre3d.ops.padre import TokenGridConv
from padre3d.ops.padre.block_conv import _means_of_maps, _means_of_tokens, block_convolution
from padre3d.ops.padre.grid_conv import grid_convolution
from padre3d.structures.grid_index import GridIndex

pytestmark = pytest.mark.usefixtures("on_kernel_device")
IMPLEMENTATIONS = ["map", "neighbours", "triton"]
KERNELS = [((1, 1), 1), ((3, 3), 1), ((5, 3), 2), ((1, 7), 1), ((7, 7), 1), ((3, 3), 50)]


def skip_without(impl):
    if impl == "triton":
        import triton_cases  # noqa: F401  (the interpreter as this project uses it)


def by_definition(x, weight, bias, index, dilation):
    """A loop over tokens and taps, with a dictionary of the cells."""
    _, ny, nx = index.cell_to_pillar.shape
    coords = [(c // (ny * nx), c // nx % ny, c % nx) for c in index.cells.tolist()]
    rows = {place: n for n, place in enumerate(coords)}
    height, width = weight.shape[2:]
    out = []
    for b, y, column in coords:
        total = bias.clone()
        for i in range(height):
            for j in range(width):
                dy, dx = (i - height // 2) * dilation, (j - width // 2) * dilation
                n = rows.get((b, y + dy, column + dx))
                if n is not None:
                    total = total + weight[:, 0, i, j] * x[n]
        out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize(("kernel", "dilation"), KERNELS, ids=str)
def test_value_and_gradients_are_those_of_the_definition(impl, kernel, dilation):
    skip_without(impl)
    torch.manual_seed(0)
    index = random_grid(40, 40, samples=3, ny=6, nx=5)
    leaves = [torch.randn(shape) for shape in ((40, 6), (6, 1, *kernel), (6,))]
    wide = [leaf.double().requires_grad_() for leaf in leaves]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    out = grid_convolution(*leaves, index, dilation, impl)
    expected = by_definition(*wide, index, dilation)
    torch.testing.assert_close(out, expected.float(), rtol=1e-5, atol=1e-5)
    cotangent = torch.randn(40, 6)
    actual = torch.autograd.grad(out, leaves, cotangent)
    expected_gradients = torch.autograd.grad(expected, wide, cotangent.double())
    for f, w in zip(actual, expected_gradients, strict=True):
        torch.testing.assert_close(f, w.float(), rtol=1e-4, atol=1e-4)


def test_gradients_by_differences():
    torch.manual_seed(0)
    index = random_grid(9, 9)
    x, taps = torch.randn(9, 2).double(), torch.randn(2, 1, 3, 3).double()
    bias = torch.randn(2).double()
    inputs = [t.requires_grad_() for t in (x, taps, bias)]

    def convolve(*tensors):
        return grid_convolution(*tensors, index, 1, "neighbours")

    assert torch.autograd.gradcheck(convolve, inputs)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(impl, dtype):
    """121 taps summed in half precision would be off by several of its steps."""
    skip_without(impl)
    torch.manual_seed(0)
    index = random_grid(200, 200, samples=1, ny=15, nx=15)
    x, weight = torch.randn(200, 4).to(dtype), torch.randn(4, 1, 11, 11).to(dtype) / 11
    expected = grid_convolution(x.double(), weight.double(), None, index, 1, "neighbours")
    out = grid_convolution(x, weight, None, index, 1, impl)
    assert out.dtype == dtype
    step = torch.finfo(dtype).eps
    assert (out - expected).abs().max() < 0.6 * step * expected.abs().max()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_no_token_and_samples_without_tokens(impl):
    skip_without(impl)
    empty = GridIndex.of(torch.zeros(0, 3, dtype=torch.long), 2, 4, 5)
    x, weight = torch.zeros(0, 3, requires_grad=True), torch.ones(3, 1, 3, 3, requires_grad=True)
    out = grid_convolution(x, weight, torch.ones(3), empty, 1, impl)
    assert out.shape == (0, 3)
    out.sum().backward()
    assert torch.equal(weight.grad, torch.zeros(3, 1, 3, 3))
    lonely = GridIndex.of(torch.tensor([[2, 0, 0]]), 4, 4, 5)
    out = grid_convolution(torch.ones(1, 3), weight, torch.ones(3), lonely, 1, impl)
    assert torch.equal(out, torch.full((1, 3), 2.0))


@pytest.mark.parametrize("impl", ["neighbours", "triton"])
def test_padding_gets_nothing_and_is_not_seen(impl):
    skip_without(impl)
    index = random_grid(12, 10)
    x = torch.randn(12, 3)
    x[10:] = float("nan")
    out = grid_convolution(x, torch.randn(3, 1, 3, 3), None, index, 1, impl)
    assert out.isfinite().all()
    assert torch.equal(out[10:], torch.zeros(2, 3))


def test_neighbours_do_not_cross_rows_or_samples():
    """The last cell of a row, of a map: what follows in memory is no neighbour."""
    coords = torch.tensor([[0, 0, 4], [0, 1, 0], [0, 3, 4], [1, 0, 0]])
    index = GridIndex.of(coords, 2, 4, 5)
    actual = index.neighbours((3, 3))
    expected = torch.zeros(9, 4, dtype=torch.int32)
    expected[4] = torch.arange(1, 5)
    assert torch.equal(actual, expected)
    assert index.neighbours((3, 3)) is actual  # once for all layers of a frame
    assert index.neighbours((3, 3), 2) is not actual


def test_cost_is_that_of_the_neighbours_there_are():
    index, x, weight = random_grid(17, 17), torch.randn(17, 6), torch.randn(6, 1, 3, 3)
    with FlopCounterMode(display=False) as counter:
        grid_convolution(x, weight, None, index, 1, "neighbours")
    occupied = (index.cell_to_pillar > 0).float().unsqueeze(1)
    pairs = F.conv2d(occupied, torch.ones(1, 1, 3, 3), padding=1) * occupied
    assert counter.get_total_flops() == 2 * 6 * int(pairs.sum()) < 2 * 6 * 17 * 9


def test_auto_is_the_map_where_a_graph_is_traced():
    index = random_grid(17, 17)

    class Convolve(torch.nn.Module):
        def forward(self, x, weight):
            return grid_convolution(x, weight, None, index)

    inputs = torch.randn(17, 6), torch.randn(6, 1, 3, 3)
    graph = torch.export.export(Convolve(), inputs).graph
    targets = [str(node.target) for node in graph.nodes]
    assert any("conv2d" in target for target in targets)
    assert not any("padre3d" in target for target in targets)


def test_bad_inputs_are_named():
    index, weight = random_grid(7, 7), torch.randn(3, 1, 3, 3)
    with pytest.raises(ValueError, match=r"expected shape \(1, 7, D\) .* got \(1, 6, 3\)"):
        TokenGridConv(weight, index)(torch.zeros(1, 6, 3))
    with pytest.raises(ValueError, match=r"got \(2, 7, 3\)"):
        TokenGridConv(weight, index)(torch.zeros(2, 7, 3))
    with pytest.raises(ValueError, match="grid_impl: expected one of .*'map'.* got 'fft'"):
        TokenGridConv(weight, index, impl="fft")(torch.zeros(1, 7, 3))
    skip_without("triton")
    with pytest.raises(ValueError, match="grid_impl='triton': expected one of .* got torch.fl"):
        TokenGridConv(weight, index, impl="triton")(torch.zeros(1, 7, 3).double())


@pytest.mark.parametrize("side", [1, 2, 5])
def test_both_ways_to_the_means_of_blocks_agree(side):
    """By sums over tokens and by pooling of maps whose sides no block divides."""
    torch.manual_seed(0)
    index = random_grid(60, 50, samples=3, ny=7, nx=11)
    x = torch.randn(60, 4, dtype=torch.float64, requires_grad=True)
    outs = [means(x, index, side) for means in (_means_of_tokens, _means_of_maps)]
    torch.testing.assert_close(*outs)
    cotangent = torch.randn_like(outs[0])
    gradients = [torch.autograd.grad(out, x, cotangent)[0] for out in outs]
    torch.testing.assert_close(*gradients)
    assert gradients[0][50:].abs().max() == 0  # padding


def test_a_token_sees_its_block_and_the_blocks_around_it():
    """Blocks of 4 cells: a token in block 2 sees blocks 1 to 3, cells 4 to 15."""
    coords = torch.stack([torch.zeros(24), torch.zeros(24), torch.arange(24.0)], 1).long()
    index = GridIndex.of(coords, 1, 4, 24)
    x = torch.randn(24, 1, requires_grad=True)
    block_convolution(x, torch.ones(1, 1, 3, 3), index, 4)[9].sum().backward()
    expected = torch.zeros(24)
    expected[4:16] = 0.25
    torch.testing.assert_close(x.grad[:, 0], expected)
