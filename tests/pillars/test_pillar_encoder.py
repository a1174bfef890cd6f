"""The pillar encoder against a per-pillar loop in float64, and with difficult clouds."""

import copy

import pytest
import torch
import torch.nn.functional as F
from same_outputs import assert_close_to_largest

from padre3d.pillars import DynamicPillarEncoder
from padre3d.pillars.voxelise import in_range
from padre3d.structures.grid import PillarGrid

GRID = PillarGrid((-6.0, -4.5, -5.0, 6.0, 4.5, 3.0), (0.3, 0.3))


def cloud(n, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    low = torch.tensor([-7.0, -5.5, -5.5, 0, 0])
    high = torch.tensor([7.0, 5.5, 3.5, 255, 0.45])
    return (low + (high - low) * torch.rand((n, 5), generator=generator)).to(device)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = DynamicPillarEncoder(GRID, filters=(16, 24))
    for norm in (layer.norm for layer in encoder.layers):
        torch.nn.init.uniform_(norm.running_mean, -1, 1)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        # Negative scales too: a maximum taken before the normalisation would be wrong.
        torch.nn.init.uniform_(norm.weight, -1.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -1, 1)
    return encoder.eval()


def oracle(encoder, clouds):
    """Dictionary of pillars, one at a time, float64."""
    result = {}
    for b, points in enumerate(clouds):
        pillars = {}
        for point in points:
            x, y, z = (float(v) for v in point[:3])
            if -6 <= x < 6 and -4.5 <= y < 4.5 and -5 <= z <= 3:
                cell = (b, int((y + 4.5) / 0.3), int((x + 6) / 0.3))
                pillars.setdefault(cell, []).append(point.double())
        for cell, members in pillars.items():
            p = torch.stack(members)
            centre = torch.tensor([-6 + 0.3 * (cell[2] + 0.5), -4.5 + 0.3 * (cell[1] + 0.5), -1.0])
            f = torch.cat([p, p[:, :3] - p[:, :3].mean(0), p[:, :3] - centre], 1)
            for layer in encoder.layers:
                n = layer.norm
                f = f @ layer.linear.weight.double().T
                f = (f - n.running_mean) / (n.running_var + 1e-3).sqrt() * n.weight + n.bias
                f = f.clamp_min(0)
                f = torch.cat([f, f.amax(0).expand_as(f)], 1)
            result[cell] = f[0, f.shape[1] // 2 :].float()
    return result


@torch.no_grad()
def test_equals_a_loop_over_pillars(encoder, device):
    clouds = [cloud(700, 1), cloud(300, 2)]
    expected = oracle(encoder, clouds)
    pillars = encoder.to(device)([points.to(device) for points in clouds])
    assert [tuple(c) for c in pillars.coords.tolist()] == sorted(expected)
    features = torch.stack([expected[k] for k in sorted(expected)])
    torch.testing.assert_close(pillars.features.cpu(), features, rtol=2e-5, atol=2e-5)


@torch.no_grad()
def test_batch_invariance_and_order_of_points(encoder, device):
    encoder.to(device)
    clouds = [cloud(n, n, device) for n in (500, 0, 400, 0)]
    together = encoder(clouds)
    assert together.batch_size == 4
    for b in (0, 2):
        alone = encoder([clouds[b].flip(0)])
        rows = together.coords[:, 0] == b
        assert torch.equal(together.coords[rows, 1:], alone.coords[:, 1:])
        assert_close_to_largest(together.features[rows], alone.features)


@pytest.mark.parametrize("filters", [(8, 8), (8,)])
def test_training_gradients_against_float64(filters, device):
    torch.manual_seed(3)
    encoder = DynamicPillarEncoder(GRID, filters=filters).train().to(device)
    for layer in encoder.layers:
        torch.nn.init.uniform_(layer.norm.weight, -1.5, 1.5)
    pillars = encoder([cloud(400, 1, device)])
    weight = torch.randn(pillars.features.shape).to(device)
    (pillars.features * weight).sum().backward()
    flat, cell_ids = in_range([cloud(400, 1, device)], encoder.grid, encoder.in_channels)
    cells, rows = torch.unique(cell_ids, return_inverse=True)
    yx = torch.stack([cells // GRID.nx, cells % GRID.nx], 1)
    x = encoder.describe(flat, rows, yx).double()
    weights = [layer.linear.weight.detach().double().requires_grad_() for layer in encoder.layers]
    for layer, w in zip(encoder.layers, weights, strict=True):
        y = x @ w.T
        y = (y - y.mean(0)) / (y.var(0, unbiased=False) + 1e-3).sqrt()
        y = (y * layer.norm.weight.detach().double()).clamp_min(0)
        top = torch.stack([y[rows == r].amax(0) for r in range(len(cells))])
        x = torch.cat([y, top[rows]], 1)
    torch.testing.assert_close(pillars.features.double(), top, rtol=1e-4, atol=1e-4)
    (top * weight).sum().backward()
    for layer, w in zip(encoder.layers, weights, strict=True):
        torch.testing.assert_close(layer.linear.weight.grad.double(), w.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "clouds",
    [
        [torch.zeros(0, 5)],
        [torch.full((10, 5), 100.0)],
        [torch.full((10, 5), float("nan"))],
        [torch.zeros(0, 5), torch.zeros(0, 5)],
    ],
    ids=["empty", "out of range", "nan", "two empty"],
)
def test_no_pillars(encoder, clouds, training, device):
    pillars = encoder.to(device).train(training)([points.to(device) for points in clouds])
    assert pillars.features.shape == (0, 24)
    assert pillars.coords.shape == (0, 3)
    assert pillars.batch_size == len(clouds)
    pillars.features.sum().backward()
    assert all(torch.count_nonzero(p.grad) == 0 for p in encoder.parameters())


def test_one_point_in_training_uses_the_running_statistics(encoder):
    point = torch.tensor([[0.1, 0.1, 0.0, 12.0, 0.0]])
    with torch.no_grad():
        expected = encoder([point]).features
        result = encoder.train()([point]).features
    torch.testing.assert_close(result, expected)


@torch.no_grad()
def test_broken_points_are_dropped(encoder):
    good = cloud(300, 5)
    bad = cloud(5, 6)
    bad[:, torch.arange(5)] = torch.where(torch.eye(5, dtype=bool), float("nan"), bad)
    infinite = cloud(5, 7)
    infinite[torch.arange(5), torch.arange(5)] = -float("inf")
    mixed = torch.cat([good[:100], bad, good[100:], infinite])
    torch.testing.assert_close(encoder([mixed]).features, encoder([good]).features)


def test_wrong_input_is_named(encoder):
    with pytest.raises(ValueError, match=r"points\[1\].*P, 5.*\(7, 4\)"):
        encoder([torch.zeros(3, 5), torch.zeros(7, 4)])
    with pytest.raises(ValueError, match="at least one sample"):
        encoder([])
    with pytest.raises(ValueError, match="even filters"):
        DynamicPillarEncoder(GRID, filters=(5, 8))


@pytest.mark.parametrize("training", [False, True])
def test_other_inputs_and_no_normalisation(training, device):
    """Against a loop over pillars; gradients too, where the maximum goes without statistics."""
    torch.manual_seed(0)
    encoder = DynamicPillarEncoder(
        GRID, filters=(6, 8), with_xyz=False, with_distance=True, with_norm=False
    )
    encoder.to(device).train(training)
    points = cloud(400, 4, device)
    found = encoder([points])
    cells, inside = GRID.cells_of(points)
    rows, members = [], {}
    for i in inside.nonzero()[:, 0].tolist():
        members.setdefault(tuple(cells[i].tolist()), []).append(i)
    for cell in sorted(members):
        p = points[members[cell]]
        centre = GRID.centres_m(torch.tensor([cell])).to(p)
        centre = torch.cat([centre[0], centre.new_tensor([-1.0])])
        xyz = p[:, :3]
        x = torch.cat([p[:, 3:], xyz - xyz.mean(0), xyz - centre], 1)
        x = torch.cat([x, xyz.square().sum(1, keepdim=True).sqrt()], 1)
        for layer in encoder.layers:
            x = F.relu(F.linear(x, layer.linear.weight, layer.linear.bias))
            x = torch.cat([x, x.amax(0).expand_as(x)], 1)
        rows.append(x[0, x.shape[1] // 2 :])
    expected = torch.stack(rows)
    assert_close_to_largest(found.features, expected)
    weight = torch.randn_like(expected)
    parameters = list(encoder.parameters())
    ours, theirs = (
        torch.autograd.grad((out * weight).sum(), parameters) for out in (found.features, expected)
    )
    assert len(parameters) == 4
    for a, b in zip(ours, theirs, strict=True):
        assert_close_to_largest(a, b)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_error_is_that_of_the_last_layer_alone(encoder, dtype, device):
    """At 50 m a half-precision coordinate is off by centimetres; the geometry must not be."""
    far = DynamicPillarEncoder(
        PillarGrid((-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), (0.3, 0.3)), filters=(16, 24)
    ).eval()
    far.to(device)
    points = cloud(500, 3, device)
    points[:, 0] += 46
    exact = far([points])
    with torch.autocast(device.type, dtype=dtype):
        half = far([points])
    assert torch.equal(half.coords, exact.coords)
    error = (half.features.float() - exact.features).abs().max() / exact.features.max()
    assert error < 4 * torch.finfo(dtype).eps


def test_sync_batch_norm_conversion_keeps_the_weights(encoder):
    names = set(encoder.state_dict())
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(encoder)
    assert set(converted.state_dict()) == names
    assert isinstance(converted.layers[0].norm, torch.nn.SyncBatchNorm)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_encoder_in_another_precision(dtype):
    torch.manual_seed(0)
    grid = PillarGrid((-2.0, -2.0, -3.0, 2.0, 2.0, 1.0), (1.0, 1.0))
    encoder = DynamicPillarEncoder(grid, filters=(8, 8)).eval()
    points = [torch.rand(50, 5) * 4 - 2]
    expected = encoder(points).features
    found = copy.deepcopy(encoder).to(dtype)(points).features
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("cell", [0.0, 1e7, float("inf"), -1.0, float("nan")])
def test_cells_that_give_no_map_are_refused(cell):
    with pytest.raises(ValueError, match="expected a dx that divides the range"):
        PillarGrid((-2.0, -2.0, -3.0, 2.0, 2.0, 1.0), (cell, cell))
