"""Settings of the head other than the published ones, each against torch's own layers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from perfect_outputs import GRID
from torch import nn

from padre3d.convert.head_keys import convert_head
from padre3d.head import PADReTransFusionHead
from padre3d.head.decoder import LocalDecoderLayer
from padre3d.structures.grid import PillarGrid

MAP = PillarGrid((0.0, 0.0, -3, 9.0, 6.0, 1), (1.0, 1.0))


def small_head(**changes):
    torch.manual_seed(0)
    settings = dict(
        in_channels=6, channels=16, num_heads=4, num_proposals=12, ffn_channels=32, local_radius=3
    )
    return PADReTransFusionHead(GRID, **{**settings, **changes})


def attention_of(module, channels, heads, dropout):
    attention = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
    attention.load_state_dict(module.state_dict())
    return attention


def layer_by_torch(layer, attentions, query, features, cells, activation, dropout):
    """The decoder layer of one sample with torch's attention, in the order of its parts."""
    alone, around = attentions
    rows = layer.positions[cells[0]]
    keys, bias = layer._keys(features, cells)
    place = layer.query_position(rows)[:, None]
    x = query[0][:, None]
    x = layer.norm1(x + F.dropout(alone(x + place, x + place, x + place)[0], dropout))
    mixed = around(x + place, keys, keys, key_padding_mask=bias < 0)[0]
    x = layer.norm2(x + F.dropout(mixed, dropout))
    hidden = F.dropout(activation(layer.ffn[0](x)), dropout)
    return layer.norm3(x + F.dropout(layer.ffn[2](hidden), dropout))[:, 0]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("name", "activation"), [("relu", F.relu), ("gelu", F.gelu)])
def test_decoder_layer(name, activation, dropout):
    """With one seed both drop the same weights and channels: they draw in the same order."""
    torch.manual_seed(0)
    layer = LocalDecoderLayer(MAP, 8, 2, 16, 2, activation=name, dropout=dropout).train()
    nn.init.normal_(layer.cross_attention.in_proj_bias)
    query, features = torch.randn(1, 7, 8), torch.randn(1, MAP.num_cells, 8)
    cells = torch.randint(0, MAP.num_cells, (1, 7))
    oracle = copy.deepcopy(layer)  # each updates running statistics of its own
    modules = (oracle.self_attention, oracle.cross_attention)
    attentions = [attention_of(module, 8, 2, dropout) for module in modules]
    torch.manual_seed(1)
    found = layer(query, features, cells)[0]
    torch.manual_seed(1)
    expected = layer_by_torch(oracle, attentions, query, features, cells, activation, dropout)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    # In evaluation nothing is dropped.
    again = [layer.eval()(query, features, cells) for _ in range(2)]
    torch.testing.assert_close(*again)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_layers_of_a_branch(count):
    """Linear, BatchNorm, ReLU in turn, as torch.nn.Sequential of the same weights."""
    head = small_head(branch_layers=dict(heatmap=count, vel=1), branch_channels=8).eval()
    widths = [16, *[8] * (count - 1), 10]
    layers = []
    for i in range(count):
        layers.append(nn.Linear(widths[i], widths[i + 1]))
        if i < count - 1:
            layers += [nn.BatchNorm1d(8), nn.ReLU()]
    oracle = nn.Sequential(*layers).eval()
    weights = list(head.branches["heatmap"].state_dict().values())
    assert [w.shape for w in weights] == [w.shape for w in oracle.state_dict().values()]
    oracle.load_state_dict(dict(zip(oracle.state_dict(), weights, strict=True)))
    query = torch.randn(2, 12, 16)
    found = head.branches(query)
    torch.testing.assert_close(found["heatmap"], oracle(query.flatten(0, 1)).view(2, 12, 10))
    assert len(head.branches["vel"].state_dict()) == 2
    assert head.branches["heatmap"][-1].bias.unique().item() == pytest.approx(-2.19)


def reference_names(count):
    """Keys of a branch in the reference: hidden layer k has its parts, the last one has none."""
    hidden = [f"{k}.{part}" for k in range(count - 1) for part in ("0.weight", "1.running_var")]
    return {f"prediction_head.heatmap.{key}" for key in (*hidden, f"{count - 1}.bias")}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_weights_of_a_branch_convert_both_ways(count):
    head = small_head(branch_layers=dict(heatmap=count, rot=3))
    state = head.state_dict()
    theirs = convert_head(state, reverse=True)
    assert reference_names(count) <= theirs.keys()
    assert reference_names(count + 1) - theirs.keys()
    back = convert_head(theirs)
    assert back.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(back[key], value)


def test_without_an_iou_branch():
    """No loss of it, no rescoring, and the output is there for what reads all outputs."""
    head = small_head(iou_branch=False, decode=dict(iou_alpha=None))
    assert "iou" not in head.branches
    outputs = head(torch.randn(2, 6, 16, 20))
    assert outputs.iou.shape == (2, 12, 1)
    assert outputs.iou.unique().tolist() == [0]
    boxes = [torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0.3, 0, 0]]), torch.zeros(0, 9)]
    losses = head.loss(outputs, boxes, [torch.tensor([0]), torch.zeros(0, dtype=torch.long)])
    assert set(losses) == {"loss_heatmap", "loss_cls", "loss_bbox", "matched_iou"}
    sum(loss for name, loss in losses.items() if name != "matched_iou").backward()
    found = head.eval().predict(outputs)[0]
    assert len(found.boxes) > 0
    with pytest.raises(ValueError, match=r"iou_alpha=None without an iou_branch, got 0\.5"):
        small_head(iou_branch=False)


def test_momentum_of_all_normalisations():
    head = small_head(bn_momentum=0.25).train()
    norms = [m for m in head.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 1 + 2 + 7
    assert {norm.momentum for norm in norms} == {0.25}
    bev = torch.randn(2, 6, 16, 20)
    features = head.heatmap_head[0](head.shared_conv(bev))
    head(bev)
    mean = features.mean((0, 2, 3))
    torch.testing.assert_close(head.heatmap_head[1].running_mean, 0.25 * mean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(activation="glu"), r"activation: expected one of \('gelu', 'relu'\), got 'glu'"),
        (dict(branch_layers=dict(heading=2)), "branch_layers: expected one of .*got 'heading'"),
        (
            dict(branch_layers=dict(vel=0)),
            r"branch_layers\['vel'\]: expected an integer >= 1, got 0",
        ),
    ],
)
def test_what_does_not_exist_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        small_head(**changes)
