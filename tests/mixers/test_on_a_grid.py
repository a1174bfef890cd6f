"""What a mixer of the layout "grid" promises: samples, padding, shapes, precision, weights."""

import pytest
import torch

from padre3d.mixers import build_mixer
from padre3d.structures.grid_index import GridIndex

DIM, NY, NX = 16, 9, 7
CONFIGS = [
    dict(type="padre", degree=2, preset="sequence", kernel_size=5),
    dict(type="padre", degree=3, preset="sequence", kernel_size=3, dilation=2),
    dict(type="padre", degree=4, preset="sequence", kernel_size=3),
    dict(type="padre", degree=2, preset="paper", kernel_size=7),
    dict(type="padre", degree=3, preset="paper", kernel_size=5, separable=True),
    dict(type="padre", degree=4, preset="text", kernel_size=11),
    dict(type="padre", degree=2, grid_impl="map", kernel_size=5),
    dict(type="padre", degree=2, kernel_size=3, block=4),
    dict(type="padre", degree=3, preset="paper", kernel_size=3, separable=True, block=3),
    dict(type="conv_control", degree=3, kernel_size=5),
]
configs = pytest.mark.parametrize("cfg", CONFIGS, ids=str)


def make(cfg):
    torch.manual_seed(0)
    mixer = build_mixer(dict(cfg, layout="grid"), DIM).eval()
    assert mixer.layout == "grid"
    assert mixer.receptive_radius is None
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer


def coords(*counts):
    found = []
    for sample, count in enumerate(counts):
        ids = torch.randperm(NY * NX)[:count].sort().values
        found.append(torch.stack([torch.full_like(ids, sample), ids // NX, ids % NX], 1))
    return torch.cat(found)


@configs
def test_a_sample_is_the_same_alone_and_in_a_batch(cfg):
    mixer = make(cfg)
    places = coords(30, 0, 1, 63)
    x, pos = torch.randn(1, len(places), DIM), torch.randn(1, len(places), DIM)
    together = mixer(x, pos, None, GridIndex.of(places, 4, NY, NX))
    for sample in (0, 2, 3):
        rows = places[:, 0] == sample
        index = GridIndex.of(places[rows] * torch.tensor([0, 1, 1]), 1, NY, NX)
        alone = mixer(x[:, rows], pos[:, rows], None, index)
        torch.testing.assert_close(together[:, rows], alone, atol=1e-5, rtol=1e-5)


@configs
def test_padding_and_its_content_change_nothing(cfg):
    """With a mask, or without a cell of the map."""
    mixer, places = make(cfg), coords(20, 25)
    index = GridIndex.of(places, 2, NY, NX)
    padded = GridIndex(torch.cat([index.cells, index.cells[:5]]), index.cell_to_pillar)
    x = torch.randn(1, 45, DIM)
    alone = mixer(x, None, None, index)
    mask = torch.arange(50)[None] < 45
    for content in (0.0, 1e4, float("nan")):
        tokens = torch.cat([x, torch.full((1, 5, DIM), content)], 1)
        for valid in (mask, None):
            out = mixer(tokens, None, valid, padded)[:, :45]
            torch.testing.assert_close(out, alone, atol=1e-6, rtol=1e-5)


@configs
def test_masked_tokens_on_the_map_are_empty_cells(cfg):
    mixer, places = make(cfg), coords(50)
    keep = torch.rand(50) < 0.6
    x = torch.randn(1, 50, DIM)
    masked = mixer(x, None, keep[None], GridIndex.of(places, 1, NY, NX))
    fewer = mixer(x[:, keep], None, None, GridIndex.of(places[keep], 1, NY, NX))
    torch.testing.assert_close(masked[:, keep], fewer, atol=1e-5, rtol=1e-5)


@configs
def test_shifting_the_frame_shifts_nothing_else(cfg):
    """The same pattern elsewhere on the map, away from its borders, has the same result.

    Blocks of 3 and of 4 cells move by whole blocks.
    """
    mixer = make(cfg)
    places = coords(30)
    x = torch.randn(1, 30, DIM)
    here = mixer(x, None, None, GridIndex.of(places, 1, 40, 40))
    there = GridIndex.of(places + torch.tensor([0, 24, 12]), 1, 40, 40)
    torch.testing.assert_close(mixer(x, None, None, there), here, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@configs
def test_autocast_trains_in_low_precision(cfg, dtype):
    mixer, index = make(cfg), GridIndex.of(coords(40), 1, NY, NX)
    x = torch.randn(1, 40, DIM)
    expected = mixer(x, None, None, index)
    with torch.autocast("cpu", dtype=dtype):
        out = mixer(x, None, None, index)
    assert (out - expected).std() < 0.05 * expected.std()
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters())


@configs
def test_unit_inputs_give_an_output_no_larger(cfg):
    torch.manual_seed(0)
    mixer = build_mixer(dict(cfg, layout="grid"), 32)
    index = GridIndex.of(torch.cartesian_prod(*map(torch.arange, (1, 20, 20))), 1, 20, 20)
    out = mixer(torch.randn(1, 400, 32), None, None, index)
    assert 0.01 < out.std() < 1.2


def test_a_full_grid_is_an_image():
    """Where every cell is occupied the layout is that of the paper's images."""
    for options in ({}, dict(separable=True), dict(dilation=2)):
        cfg = dict(type="padre", degree=3, preset="text", kernel_size=3, **options)
        mixer = make(cfg)
        image = build_mixer(dict(cfg, dims=2), DIM)
        image.load_state_dict(mixer.state_dict())
        places = torch.cartesian_prod(torch.arange(1), torch.arange(NY), torch.arange(NX))
        x = torch.randn(1, NY * NX, DIM)
        on_grid = mixer(x, None, None, GridIndex.of(places, 1, NY, NX))
        torch.testing.assert_close(on_grid, image(x, size=(NY, NX)), atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_is_named():
    mixer, index = make(CONFIGS[0]), GridIndex.of(coords(5), 1, NY, NX)
    x = torch.zeros(1, 5, DIM)
    with pytest.raises(ValueError, match="or a GridIndex, got None"):
        mixer(x)
    with pytest.raises(ValueError, match=r"shape \(1, 5, D\) as the index has it, got \(1, 4, 16"):
        mixer(x[:, :4], None, None, index)
    with pytest.raises(ValueError, match="layout: expected one of .*'grid'.*, got 'graph'"):
        build_mixer(dict(type="padre", layout="graph"), DIM)
    with pytest.raises(ValueError, match="prefix=0, got 1"):
        build_mixer(dict(type="padre", layout="grid", prefix=1), DIM)(x, None, None, index)
    with pytest.raises(ValueError, match="expected dims=2 with a dilation or a separable kernel"):
        build_mixer(dict(type="padre", separable=True), DIM)
    with pytest.raises(ValueError, match="dilation: expected an integer >= 1, got 0"):
        build_mixer(dict(type="padre", layout="grid", dilation=0), DIM)
