"""The pillar encoder against the reference's, value by value."""

import pytest
import torch

from padre3d.convert.keys import PILLAR_ENCODER
from padre3d.convert.reference_stages import read_pillar_encoder
from padre3d.convert.settings_reader import Settings
from padre3d.pillars import DynamicPillarEncoder
from padre3d.structures.grid import PillarGrid

from .arrays import Golden, pillars_from_reference, without_type


@pytest.fixture(scope="module")
def golden(arrays_dir, device):
    return Golden(arrays_dir / "vfe.npz", device=device)


@pytest.fixture(scope="module")
def encoder(golden):
    grid = PillarGrid(golden["point_cloud_range"].tolist(), golden["voxel_size"][:2].tolist())
    settings = read_pillar_encoder(Settings(golden.config), golden.config["NUM_FILTERS"][-1])
    encoder = DynamicPillarEncoder(grid, **without_type(settings))
    return golden.load_into(encoder, PILLAR_ENCODER)


@pytest.fixture(scope="module")
def clouds(golden):
    points = golden["points"]
    return [points[points[:, 0] == b, 1:] for b in range(int(points[:, 0].max()) + 1)]


def test_grid_and_points_in_range(golden, encoder):
    assert golden["grid_size"].tolist() == [encoder.grid.nx, encoder.grid.ny, 1]
    inside = encoder.grid.cells_of(golden["points"][:, 1:])[1]
    assert torch.equal(inside, golden["point_in_range_mask"])


def test_inputs_and_first_layer(golden, encoder):
    used = golden["points"][golden["point_in_range_mask"]]
    rows = golden["point_to_pillar"]
    cells = golden["voxel_coords"][:, [2, 3]]
    inputs = encoder.describe(used[:, 1:], rows, cells)
    torch.testing.assert_close(inputs[:300], golden["pfn0_in_first300"], rtol=1e-5, atol=1e-5)
    own = encoder.layers[0](inputs, None, rows)[:300]
    expected = golden["pfn0_out_first300"][:, : own.shape[1]]
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["folded", "per point"])
def test_pillar_features(golden, encoder, clouds, mode, monkeypatch):
    if mode == "per point":

        def plain(layer, x, shared, rows, n):
            from padre3d.pillars.segments import segment_max

            return segment_max(layer(x, shared, rows), rows, n)

        monkeypatch.setattr(type(encoder.layers[0]), "forward_max", plain)
    with torch.no_grad():
        pillars = encoder(clouds)
    expected, _ = pillars_from_reference(
        golden["pillar_features"], golden["voxel_coords"], len(clouds)
    )
    assert torch.equal(pillars.coords, expected.coords)
    torch.testing.assert_close(pillars.features, expected.features, rtol=1e-5, atol=1e-5)
