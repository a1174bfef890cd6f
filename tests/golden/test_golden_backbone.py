"""Sets and backbone against the reference's, exactly and value by value."""

import pytest
import torch

from padre3d.backbone import VoxelBackbone
from padre3d.convert.keys import BACKBONE
from padre3d.convert.reference_stages import read_backbone, read_windows
from padre3d.convert.settings_reader import Settings
from padre3d.sequences import WindowPartition, WindowSets
from padre3d.structures.grid import PillarGrid

from .arrays import Golden, pillars_from_reference, without_type


@pytest.fixture(scope="module")
def partition_arrays(arrays_dir, device):
    return Golden(arrays_dir / "input_layer.npz", "pillar/", device)


def partitions_of(config):
    nx, ny, _ = config["sparse_shape"]
    pairs = zip(*read_windows(Settings(config), []), strict=True)
    return [WindowPartition(ny, nx, window, shift) for window, shift in pairs]


def assert_same_sets(layouts, ours_of, indices, masks):
    """Ours are rows in our order: map the reference's rows there first."""
    for layout, index, mask in zip(layouts, indices, masks, strict=True):
        assert torch.equal(layout.index, ours_of[index])
        assert torch.equal(layout.valid, ~mask)


def test_partition_into_windows_and_sets(partition_arrays):
    golden = partition_arrays
    coords = golden["voxel_coords"]
    pillars, ours_of = pillars_from_reference(torch.zeros(len(coords), 1), coords, 2)
    set_size = golden.config["set_info"][0][0]
    for s, partition in enumerate(partitions_of(golden.config)):
        name = f"stage0_shift{s}"
        yx = coords[:, 2:]
        place = partition.window_index_of(yx)
        in_window = golden[f"coors_in_win_{name}"]
        assert torch.equal(place // partition.window[0], in_window[:, 1])
        assert torch.equal(place % partition.window[0], in_window[:, 2])
        read = partition.centred_xy(golden.config["normalize_pos"])[place]
        torch.testing.assert_close(read, golden[f"pos_location_{name}"], rtol=1e-6, atol=1e-6)
        # The reference's window ids have gaps; the same windows in the same order is what counts.
        ours = coords[:, 0] * partition.num_windows + partition.window_of(yx)
        theirs = golden[f"batch_win_inds_{name}"]
        pairs = torch.unique(torch.stack([theirs, ours], 1), dim=0)
        assert (pairs.diff(dim=0) > 0).all()
        layouts = WindowSets(partition, set_size)(pillars.coords, 2)
        masks = golden[f"set_voxel_mask_{name}"]
        assert_same_sets(layouts, ours_of, golden[f"set_voxel_inds_{name}"], masks)


@pytest.fixture(scope="module")
def golden(arrays_dir, device):
    return Golden(arrays_dir / "backbone_small.npz", device=device)


@pytest.fixture(scope="module")
def pillars_and_rows(golden):
    coords = golden["voxel_coords_in"]
    return pillars_from_reference(golden["voxel_features_in"], coords, int(coords[:, 0].max()) + 1)


def build(golden, **changes):
    nx, ny, _ = golden.config["INPUT_LAYER"]["sparse_shape"]
    grid = PillarGrid((0, 0, -5, nx * 0.3, ny * 0.3, 3), (0.3, 0.3))
    section = Settings({"NAME": "DSVT", **golden.config})
    settings = without_type(read_backbone(section, grid, []))
    assert section.problems == []
    return golden.load_into(VoxelBackbone(grid, **{**settings, **changes}), BACKBONE)


@pytest.fixture(scope="module")
def outputs(golden, pillars_and_rows):
    """Outputs by the reference's name, in the reference's row order."""
    backbone = build(golden)
    window_index = {
        "stage0_block0_layer0_out": backbone.blocks[0].layers[0],
        "stage0_block0_out": backbone.blocks[0].layers[1],
        "stage0_block0_residual_out": backbone.blocks[0],
        "stage0_block1_out": backbone.blocks[1].layers[1],
    }
    seen = {}
    for name, module in window_index.items():
        module.register_forward_hook(lambda m, i, out, name=name: seen.__setitem__(name, out))
    pillars, rows = pillars_and_rows
    with torch.no_grad():
        seen["voxel_features_out"] = backbone(pillars).features
    return {name: value[rows] for name, value in seen.items()}


@pytest.mark.parametrize(
    "name",
    [
        "stage0_block0_layer0_out",
        "stage0_block0_out",
        "stage0_block0_residual_out",
        "stage0_block1_out",
        "voxel_features_out",
    ],
)
def test_backbone_outputs(golden, outputs, name):
    torch.testing.assert_close(outputs[name], golden[name], rtol=0, atol=2e-5)


def test_sets_of_the_backbone(golden, pillars_and_rows):
    pillars, ours_of = pillars_and_rows
    plan = build(golden).plan(pillars)
    expected = [golden[f"set_voxel_inds_stage0_shift{s}"][a] for s in (0, 1) for a in (0, 1)]
    for layout, index in zip(plan.layouts, expected, strict=True):
        assert torch.equal(layout.index, ours_of[index])


@torch.no_grad()
def test_position_embeddings(golden, pillars_and_rows):
    pillars, ours_of = pillars_and_rows
    backbone = build(golden)
    plan = backbone.plan(pillars)
    for shift in (0, 1):
        embed = backbone.position_embeddings[0][shift]
        result = embed(plan.window_index[shift]).of(ours_of[:400])
        expected = golden[f"pos_embed_stage0_block0_shift{shift}_first400"]
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_flaw_of_the_position_embedding_is_a_choice(golden, pillars_and_rows):
    """Without it both layers of a block read the coordinates of the block's own shift."""
    pillars, rows = pillars_and_rows
    backbone = build(golden, dsvt_compat=False)
    assert backbone.position_shift[:4] == [0, 0, 1, 1]
    error = (backbone(pillars).features[rows] - golden["voxel_features_out"]).abs().max()
    assert error > 0.1


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [
        dict(activation="gelu"),
        dict(normalise_positions=False),
        dict(window=(6, 5), shifts=((0, 0), (2, 4))),
        dict(window=(12, 15)),
        dict(set_size=9),
    ],
    ids=str,
)
def test_each_choice_matters(self_made, changes):
    """What would be computed without the choice is something else: the arrays do hold it."""
    golden = Golden(self_made / "backbone_small.npz")
    coords = golden["voxel_coords_in"]
    pillars, rows = pillars_from_reference(golden["voxel_features_in"], coords, 2)
    error = build(golden, **changes)(pillars).features[rows] - golden["voxel_features_out"]
    assert error.abs().max() > 0.01
