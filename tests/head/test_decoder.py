"""Windows and the local decoder layer against slow, obvious versions."""

import pytest
import torch
from torch import nn

from padre3d.head.decoder import LocalCrossAttention, LocalDecoderLayer
from padre3d.head.windows import LocalWindow
from padre3d.structures.grid import PillarGrid

GRID = PillarGrid((0.0, 0.0, -3, 9.0, 6.0, 1), (1.0, 1.0))  # 9 x 6 cells


def window_by_loop(cell, radius, wrap):
    """(id or None) of each neighbour, y outer, x inner."""
    y, x = divmod(cell, GRID.nx)
    ids = []
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            i, j = x + dx, y + dy
            if wrap:
                index = i * GRID.ny + j
                inside = 0 <= index < GRID.nx * GRID.ny
                i, j = divmod(index, GRID.ny)
            else:
                inside = 0 <= i < GRID.nx and 0 <= j < GRID.ny
            ids.append(j * GRID.nx + i if inside else None)
    return ids


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("radius", [1, 4, 7])
def test_window_of_every_cell(radius, wrap):
    cells = torch.arange(GRID.num_cells)
    ids, bias = LocalWindow(GRID, radius, wrap=wrap)(cells)
    assert ids.min() >= 0
    assert ids.max() < GRID.num_cells
    for cell in cells.tolist():
        expected = window_by_loop(cell, radius, wrap)
        assert [b == 0 for b in bias[cell].tolist()] == [e is not None for e in expected]
        real = [k for k, e in enumerate(expected) if e is not None]
        assert ids[cell][real].tolist() == [expected[k] for k in real]
    assert bias.min() <= -1e4


def test_local_attention_equals_multihead_attention():
    """Moving the projections to the other side of the products changes nothing."""
    torch.manual_seed(0)
    ours = LocalCrossAttention(16, 4)
    oracle = nn.MultiheadAttention(16, 4, batch_first=True)
    nn.init.normal_(oracle.in_proj_bias)
    ours.load_state_dict(oracle.state_dict())
    query, keys = torch.randn(7, 16), torch.randn(7, 25, 16, requires_grad=True)
    masked = torch.rand(7, 25) < 0.4
    actual = ours(query, keys, masked * -1e4)
    expected = oracle(query[:, None], keys, keys, key_padding_mask=masked)[0][:, 0]
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn(7, 16)
    gradients = [torch.autograd.grad((o * weight).sum(), keys)[0] for o in (actual, expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)
    assert gradients[0][masked].abs().max() == 0


def layer_by_hand(layer, query, features, cells):
    """The layer query by query, with every key gathered and embedded on its own."""
    attention = nn.MultiheadAttention(query.shape[2], 2, batch_first=True)
    attention.load_state_dict(layer.cross_attention.state_dict())
    alone = nn.MultiheadAttention(query.shape[2], 2, batch_first=True)
    alone.load_state_dict(layer.self_attention.state_dict())
    out = torch.empty_like(query)
    for b in range(len(query)):
        for p, cell in enumerate(cells[b].tolist()):
            keys = [k for k in window_by_loop(cell, 2, False) if k is not None]
            x = query[b, p][None, None]
            place = torch.tensor([[cell % GRID.nx + 0.5, cell // GRID.nx + 0.5]])
            place = layer.query_position(place)[None]
            x = layer.norm1(x + alone(x + place, x + place, x + place)[0])
            places = torch.tensor([[k % GRID.nx + 0.5, k // GRID.nx + 0.5] for k in keys])
            key = (features[b, keys] + layer.key_position(places))[None]
            x = layer.norm2(x + attention(x + place, key, key)[0])
            out[b, p] = layer.norm3(x + layer.ffn(x))
    return out


def make_layer(**kwargs):
    torch.manual_seed(0)
    layer = LocalDecoderLayer(GRID, 8, 2, 16, 2, **kwargs)
    for name, value in layer.named_buffers():
        if "running" in name:
            value.uniform_(0.5, 3.0)
    for norm in (layer.norm1, layer.norm2, layer.norm3):
        nn.init.normal_(norm.weight)
    return layer


def test_layer_equals_the_loop():
    layer = make_layer().eval()
    query, features = torch.randn(2, 5, 8), torch.randn(2, GRID.num_cells, 8)
    cells = torch.tensor([[0, 8, 53, 22, 22], [45, 1, 30, 17, 9]])
    with torch.no_grad():
        actual = layer(query, features, cells)
        torch.testing.assert_close(
            actual, layer_by_hand(layer, query, features, cells), atol=1e-5, rtol=1e-5
        )


def test_reference_statistics_are_those_of_all_gathered_keys():
    """Weighting cells by how often they are keys equals normalising the gathered keys."""
    layer = make_layer(dsvt_compat=True).train()
    cells = torch.randint(0, GRID.num_cells, (2, 6))
    ids, _ = layer.window(cells.flatten())
    norm = nn.BatchNorm1d(8)
    norm.load_state_dict(layer.key_position[1].state_dict())
    norm(layer.key_position[0](layer.positions[ids.flatten()]))
    layer(torch.randn(2, 6, 8), torch.randn(2, GRID.num_cells, 8), cells)
    torch.testing.assert_close(layer.key_position[1].running_mean, norm.running_mean)
    torch.testing.assert_close(layer.key_position[1].running_var, norm.running_var)


def test_our_statistics_do_not_depend_on_the_proposals():
    after = []
    for cells in (torch.zeros(1, 6).long(), torch.arange(6)[None] * 9):
        layer = make_layer().train()
        layer(torch.randn(1, 6, 8), torch.randn(1, GRID.num_cells, 8), cells)
        after.append(layer.key_position[1].running_var.clone())
    assert torch.equal(*after)
