"""The backbone: one layer against its formula, invariances, switches."""

import copy

import pytest
import torch
import torch.nn.functional as F
from same_outputs import assert_close_to_largest

from padre3d.backbone import VoxelBackbone
from padre3d.backbone.encoder import PositionEmbedding
from padre3d.bev import ResidualBEVBackbone, scatter_to_map
from padre3d.pillars import DynamicPillarEncoder
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars
from padre3d.structures.tokens import TokenLayout, TokenPlan

GRID = PillarGrid((-6.0, -4.8, -5.0, 6.0, 4.8, 3.0), (0.3, 0.3))
GRID_MIXER = dict(type="padre", degree=2, preset="sequence", layout="grid", kernel_size=5)
MIXERS = {
    "padre": dict(mixer=dict(type="padre", degree=2, preset="sequence", kernel_size=5)),
    "padre3 sets": dict(
        mixer=dict(type="padre", degree=3, preset="paper", kernel_size=5), tokens="set"
    ),
    "attention": dict(mixer=dict(type="set_attention", num_heads=2)),
    "grid": dict(mixer=dict(GRID_MIXER), pos_embed=None),
    "grid3 separable": dict(mixer=dict(GRID_MIXER, degree=3, preset="paper", separable=True)),
    "grid and sequence": dict(mixers=[GRID_MIXER, dict(type="padre", kernel_size=5)]),
    "grid and sets": dict(mixers=[dict(type="set_attention", num_heads=2), GRID_MIXER]),
    "parallel": dict(mixer=dict(type="padre", kernel_size=5), parallel=True),
    "attention sequence": dict(mixer=dict(type="set_attention", num_heads=2), tokens="sequence"),
}


def build(name="padre", **changes):
    torch.manual_seed(0)
    settings = dict(
        dim=16, num_blocks=2, ffn_dim=24, window=(8, 6), shifts=((0, 0), (4, 3)), set_size=9
    )
    return VoxelBackbone(GRID, **{**settings, **MIXERS[name], **changes}).eval()


def pillars(counts, seed=0, dim=16, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    coords = []
    for b, count in enumerate(counts):
        ids = torch.randperm(GRID.num_cells, generator=generator)[:count].sort().values
        coords.append(torch.stack([torch.full_like(ids, b), ids // GRID.nx, ids % GRID.nx], 1))
    coords = torch.cat(coords)
    features = torch.randn((len(coords), dim), generator=generator)
    return Pillars(features.to(device), coords.to(device), len(counts))


def sample(batch, b):
    rows = batch.coords[:, 0] == b
    coords = batch.coords[rows] * torch.tensor([0, 1, 1], device=rows.device)
    return Pillars(batch.features[rows], coords, 1), rows


@torch.no_grad()
def test_one_block_is_its_formula(device):
    backbone = build(num_blocks=1).to(device)
    given = pillars([150], device=device)
    yx = given.coords[:, 1:]
    x = given.features
    block = backbone.blocks[0]
    for i, layer in enumerate(block.layers):
        outer, inner = (1, 0) if i else (0, 1)
        key = [yx[:, 1] // 8 * 100 + yx[:, 0] // 6, yx[:, outer], yx[:, inner]]
        order = ((key[0] * 100 + key[1]) * 100 + key[2]).argsort()
        xy = torch.stack([yx[:, 1] % 8 - 4.0, yx[:, 0] % 6 - 3.0], 1)
        embed = backbone.position_embeddings[0][i]
        pos = embed.linear2(F.relu(embed.norm(embed.linear1(xy))))
        a = torch.empty_like(x)
        a[order] = layer.mixer(x[order][None], pos[order][None])[0]
        y = layer.norm1(x + a)
        z = layer.norm2(y + layer.linear2(F.gelu(layer.linear1(y))))
        x = layer.norm(x + z)
    expected = block.norm(given.features + x)
    torch.testing.assert_close(backbone(given).features, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_block_on_the_grid_is_its_formula():
    backbone = build("grid", num_blocks=1)
    given = pillars([150, 90])
    b, y, x = given.coords.unbind(1)
    out = given.features
    for layer in backbone.blocks[0].layers:
        b1, b2, conv, v = (*layer.mixer.b, layer.mixer.c[0], layer.mixer.v)
        maps = scatter_to_map(given.replace(F.linear(out, b1.weight, b1.bias)), GRID.ny, GRID.nx)
        c = F.conv2d(maps, conv.weight, conv.bias, padding=2, groups=16)[b, :, y, x]
        mixed = F.linear(c * F.linear(out, b2.weight, b2.bias), v.weight, v.bias)
        u = layer.norm1(out + mixed)
        z = layer.norm2(u + layer.linear2(F.gelu(layer.linear1(u))))
        out = layer.norm(out + z)
    expected = backbone.blocks[0].norm(given.features + out)
    torch.testing.assert_close(backbone(given).features, expected, rtol=1e-5, atol=1e-5)


def test_grid_layers_take_no_order_and_leave_the_others_theirs():
    plan = build("grid").plan(pillars([50]))
    assert plan.layouts == ()
    assert plan.grid.cell_to_pillar.shape == (1, GRID.ny, GRID.nx)
    mixed = build("grid and sequence", orders=["hilbert", "random"])
    assert mixed.planner.keys == (("hilbert", 0), ("random", 0))
    assert mixed.planner.layer_to_layout == (None, 0, None, 1)
    assert build().plan(pillars([50])).grid is None


@torch.no_grad()
@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("counts", [[120, 300], [300, 0, 57], [0, 1, 90, 0]])
def test_a_sample_is_the_same_alone_and_in_a_batch(name, counts, device):
    backbone = build(name).to(device)
    batch = pillars(counts, device=device)
    together = backbone(batch)
    for b in range(len(counts)):
        alone, rows = sample(batch, b)
        expected = backbone(alone).features
        assert_close_to_largest(together.features[rows], expected)


@torch.no_grad()
def test_points_to_map_are_the_same_alone_and_in_a_batch(device):
    torch.manual_seed(1)
    encoder = DynamicPillarEncoder(GRID, filters=(16, 16)).eval().to(device)
    backbone = build().to(device)
    bev = ResidualBEVBackbone(16, channels=(8, 8, 8), up_channels=(4, 4, 4)).eval().to(device)

    def detect(clouds):
        return bev(scatter_to_map(backbone(encoder(clouds)), GRID.ny, GRID.nx))

    scale = torch.tensor([12.0, 9.6, 4.0, 255.0, 0.4])
    clouds = [torch.rand(n, 5) * scale - torch.tensor([6, 4.8, 3, 0, 0]) for n in (900, 200)]
    clouds = [points.to(device) for points in (*clouds, torch.zeros(0, 5))]
    together = detect(clouds)
    assert together.shape == (3, 12, 16, 20)
    for b, cloud in enumerate(clouds):
        assert_close_to_largest(together[b : b + 1], detect([cloud]))


@torch.no_grad()
@pytest.mark.parametrize("name", ["padre", "attention", "grid"])
def test_row_zero_does_not_reach_another_sample_through_the_padding(name):
    """Padding slots point at row 0; only sample 0 may notice what stands there."""
    backbone = build(name)
    batch = pillars([150, 40])
    before = backbone(batch).features
    batch.features[0] = 1e4
    after = backbone(batch).features
    other = batch.coords[:, 0] == 1
    assert torch.equal(before[other], after[other])
    assert not torch.equal(before[~other], after[~other])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MIXERS)
def test_without_pillars(name, training, device):
    backbone = build(name).train(training).to(device)
    result = backbone(pillars([0, 0], device=device))
    assert result.features.shape == (0, 16)
    result.features.sum().backward()
    assert all(torch.count_nonzero(p.grad) == 0 for p in backbone.parameters())


@pytest.mark.parametrize("how", ["with_cp", "mmengine"])
@pytest.mark.parametrize("name", ["padre", "attention", "grid and sequence"])
def test_checkpointing_changes_nothing(name, how):
    plain = build(name).train()
    if how == "with_cp":
        cheap = build(name, with_cp=True).train()
    else:
        checkpointing = pytest.importorskip("mmengine.runner.activation_checkpointing")
        cheap = copy.deepcopy(plain)
        checkpointing.turn_on_activation_checkpointing(cheap, ["blocks.0", "blocks.1"])
    batch = pillars([100, 60])
    batch.features.requires_grad_()
    weight = torch.randn(160, 16)
    gradients = []
    for backbone in (plain, cheap):
        batch.features.grad = None
        (backbone(batch).features * weight).sum().backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
        gradients[-1]["features"] = batch.features.grad
    # A reentrant checkpoint computes first without gradients, which is in chunks of rows.
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)
    # Recomputing the position embeddings would count the batch twice.
    for name, value in plain.named_buffers():
        torch.testing.assert_close(cheap.get_buffer(name), value)


def test_position_embedding_on_the_table_equals_one_per_pillar():
    torch.manual_seed(0)
    xy = torch.randn(20, 2)
    table = PositionEmbedding(6, xy).train()
    plain = copy.deepcopy(table)
    plain.norm = torch.nn.BatchNorm1d(6)
    window_index = torch.randint(0, 20, (90,))
    index = torch.randperm(90).view(2, 45)
    torch.testing.assert_close(table(window_index).of(index), plain(window_index).of(index))
    torch.testing.assert_close(table.norm.running_var, plain.norm.running_var)
    table.eval(), plain.eval()
    torch.testing.assert_close(table(window_index).of(index), plain(window_index).of(index))


@torch.no_grad()
def test_orders_reach_the_mixers():
    """One pass per order; the random control of a different seed gives another result."""
    batch = pillars([200])
    results = [
        build(orders=orders)(batch).features
        for orders in (["hilbert"], ["random"], ["random:1"], ["window_y_major"])
    ]
    for i, first in enumerate(results):
        for second in results[i + 1 :]:
            assert (first - second).abs().max() > 1e-3


class RunOnTensors(torch.nn.Module):
    """The part of the backbone that is exported: tensors in, tensor out."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, features, index, slot, window_index):
        layouts = [TokenLayout(i, None, s) for i, s in zip(index, slot, strict=True)]
        return self.backbone.run(features, TokenPlan(tuple(layouts), tuple(window_index)))

    def inputs(self, batch):
        plan = self.backbone.plan(batch)
        index, slot = zip(*((lay.index, lay.slot) for lay in plan.layouts), strict=True)
        return batch.features, torch.stack(index), torch.stack(slot), torch.stack(plan.window_index)


@torch.no_grad()
def test_export_for_any_number_of_pillars():
    """Exported with 150 pillars, run with 222."""
    module = RunOnTensors(build())
    n = torch.export.Dim("n", min=2, max=60_000)
    shapes = ({0: n}, {2: n}, {1: n}, {1: n})
    exported = torch.export.export(
        module, module.inputs(pillars([150])), dynamic_shapes=shapes
    ).module()
    other = pillars([222], seed=3)
    expected = module.backbone(other).features
    torch.testing.assert_close(exported(*module.inputs(other)), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MIXERS)
def test_autocast_trains_and_stays_close(name, dtype, device):
    backbone = build(name).train().to(device)
    batch = pillars([120, 0, 90], device=device)
    expected = backbone(batch).features
    with torch.autocast(device.type, dtype=dtype):
        result = backbone(batch).features
    (result.float() * torch.randn(result.shape).to(device)).sum().backward()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())
    # Outputs of the last LayerNorm are of order 1.
    assert (result - expected).abs().max() < 8 * torch.finfo(dtype).eps


@torch.no_grad()
def test_no_position_embedding():
    backbone = build(pos_embed=None)
    assert not [name for name in backbone.state_dict() if "position" in name]
    batch = pillars([50])
    one, two = backbone(batch).features, build()(batch).features
    assert (one - two).abs().max() > 1e-3


@torch.no_grad()
def test_submanifold_descriptor_reads_occupied_neighbours_of_its_sample():
    pytest.importorskip("spconv")
    backbone = build(local_descriptor="submconv")
    descriptor = backbone.local_descriptor
    batch = pillars([400, 300])
    result = descriptor(batch, GRID.ny, GRID.nx)
    bev = scatter_to_map(batch, GRID.ny, GRID.nx)
    kernel = descriptor.conv.weight.permute(0, 3, 1, 2)
    b, y, x = batch.coords.unbind(1)
    convolved = F.conv2d(bev, kernel, padding=1)[b, :, y, x]
    expected = batch.features + F.relu(descriptor.norm(convolved))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert backbone(batch).features.isfinite().all()


@torch.no_grad()
def test_layers_side_by_side_read_the_block_s_input():
    backbone = build("parallel")
    batch = pillars([200, 150])
    plan, x = backbone.plan(batch), batch.features
    for number, block in enumerate(backbone.blocks):
        layouts, positions = backbone.inputs_of_block(number, plan)
        one, two = (block.layers[i](x, layouts[i], positions[i]) for i in range(2))
        x = block.norm(x + (one + two) / 2)
    torch.testing.assert_close(backbone(batch).features, x, rtol=1e-5, atol=1e-5)
    weights = backbone.state_dict()
    in_turn = build()
    in_turn.load_state_dict(weights)
    assert (in_turn(batch).features - x).abs().max() > 1e-2


@torch.no_grad()
def test_a_descriptor_before_every_block():
    pytest.importorskip("spconv")
    backbone = build(local_descriptor="submconv_each")
    first, second = backbone.local_descriptor, backbone.block_descriptors[0]
    assert len(backbone.block_descriptors) == len(backbone.blocks) - 1
    batch = pillars([400, 300])
    plan = backbone.plan(batch)
    x = backbone.run_block(0, first(batch, GRID.ny, GRID.nx), plan)
    x = backbone.run_block(1, second(batch.replace(x), GRID.ny, GRID.nx), plan)
    torch.testing.assert_close(backbone(batch).features, x, rtol=1e-5, atol=1e-5)
    only_first = build(local_descriptor="submconv")
    only_first.load_state_dict(backbone.state_dict(), strict=False)
    assert (only_first(batch).features - x).abs().max() > 1e-2


def test_initial_weights_are_xavier_uniform():
    backbone = build()
    embed, layer = backbone.position_embeddings[1][0], backbone.blocks[1].layers[0]
    for linear in (embed.linear1, embed.linear2, layer.linear1, layer.linear2):
        bound = (6 / sum(linear.weight.shape)) ** 0.5
        assert 0.8 * bound < linear.weight.abs().max() <= bound


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(mixer=dict(type="hadamard")), "padre.*set_attention"),
        (dict(tokens="graph"), "sequence.*set"),
        (dict(layout="grid"), "layout: expected mixers of one layout"),
        (dict(mixer=GRID_MIXER, layout="set"), "layout: expected 'grid'"),
        (dict(mixers=[]), "mixers: expected 1 to 4 configs, got 0"),
        (
            dict(mixers=[dict(type="padre"), dict(type="padre", preset="paper")]),
            r"got \['sequence', 'set'\]",
        ),
        (dict(mixer=dict(GRID_MIXER, impl="triton")), "impl='eager', got 'triton'"),
        (dict(mixer=dict(GRID_MIXER, kernel_size=4)), "odd number, got 4"),
        (dict(orders=["spiral"]), "window_y_major"),
        (dict(pos_embed="sine"), "per_layer"),
        (dict(local_descriptor="conv"), "submconv"),
        (dict(activation="glu"), r"activation: expected one of \('gelu', 'relu'\), got 'glu'"),
        (dict(window=((8, 6), (4, 4), (2, 2))), "one for each of 2 shifts"),
        (dict(mixer=dict(type="padre", impl="triton"), activation="relu"), "expected activation"),
    ],
)
def test_unknown_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match=r"N, 16.*\(50, 12\)"):
        build()(pillars([50], dim=12))
