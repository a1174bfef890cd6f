"""Chunks of rows against the plain form, with chunks so small that every border case occurs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from padre3d.backbone import VoxelBackbone
from padre3d.mixers import PADRe, PadreStructure, build_mixer
from padre3d.mixers import padre as padre_module
from padre3d.mixers.structure import Conv, Dense
from padre3d.ops import chunked
from padre3d.ops.padre import grid_conv
from padre3d.structures.grid import PillarGrid
from padre3d.structures.pillars import Pillars

GRID = PillarGrid((0, 0, -5, 30, 24, 3), (1, 1))
DIM = 16
MIXERS = {
    "sequence": dict(type="padre", degree=2, preset="sequence", kernel_size=5),
    "degree 4": dict(type="padre", degree=4, preset="sequence", kernel_size=3),
    "paper in a sequence": dict(type="padre", degree=3, preset="paper", kernel_size=3),
    "grid": dict(type="padre", layout="grid", kernel_size=5),
    "grid paper": dict(type="padre", degree=3, preset="paper", layout="grid", kernel_size=3),
    "mamba": dict(type="mamba"),
    "attention": dict(type="set_attention", num_heads=4),
}


def build(name, **changes):
    torch.manual_seed(0)
    return VoxelBackbone(
        GRID,
        dim=DIM,
        num_blocks=2,
        ffn_dim=32,
        window=(8, 6),
        shifts=((0, 0), (4, 3)),
        set_size=20,
        mixer=MIXERS[name],
        **changes,
    ).eval()


def pillars(counts):
    generator = torch.Generator().manual_seed(1)
    coords = []
    for b, count in enumerate(counts):
        ids = torch.randperm(GRID.num_cells, generator=generator)[:count].sort().values
        coords.append(torch.stack([torch.full_like(ids, b), ids // GRID.nx, ids % GRID.nx], 1))
    coords = torch.cat(coords)
    return Pillars(torch.randn(len(coords), DIM, generator=generator), coords, len(counts))


@pytest.fixture
def chunks_of_16_rows(monkeypatch):
    for module in (chunked, grid_conv):
        monkeypatch.setattr(module, "CHUNK_BYTES", 16 * DIM * 4)


@pytest.mark.usefixtures("chunks_of_16_rows")
@pytest.mark.parametrize("tokens", ["sequence", "set"])
@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("counts", [[300], [16], [33, 0, 150]])
def test_chunks_give_what_the_plain_form_gives(name, tokens, counts):
    backbone = build(name, **({} if name.startswith("grid") else dict(tokens=tokens)))
    batch = pillars(counts)
    plain = backbone(batch).features
    assert plain.requires_grad
    with torch.no_grad():
        got = backbone(batch).features
    torch.testing.assert_close(got, plain.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("chunks_of_16_rows")
def test_a_sequence_really_is_cut_and_needs_its_halo(monkeypatch):
    """With too short a reach the cuts show: the test above would fail."""
    backbone, batch = build("sequence"), pillars([300])
    with torch.no_grad():
        got = backbone(batch).features
        monkeypatch.setattr(PADRe, "receptive_radius", 1)
        cut = backbone(batch).features
    assert (cut - got).abs().max() > 1e-3


def test_reach_is_how_far_a_token_is_felt():
    conv = Conv(5)
    maps = dict(b=(None,) * 3, d=(None,) * 2)
    structures = [
        PadreStructure(a=(Conv(7), None, Conv(3)), c=(conv, None), u=Conv(3), **maps),
        PadreStructure(a=(None, None, Conv(11)), c=(None, conv), **maps),
    ]
    for structure, reach in zip(structures, (6, 5), strict=True):
        torch.manual_seed(0)
        mixer = PADRe(4, structure=structure).double()
        assert mixer.receptive_radius == reach
        x = torch.randn(1, 31, 4, dtype=torch.float64, requires_grad=True)
        mixer(x)[0, 15].sum().backward()
        felt = x.grad[0].abs().sum(1).nonzero().flatten()
        assert (15 - felt).abs().max() == reach


@pytest.mark.parametrize(
    "mixer",
    [
        PADRe(4, dims=2, preset="paper"),
        PADRe(4, prefix=1),
        PADRe(4, structure=PadreStructure(a=(Dense(6),), b=(None,))),
    ],
)
def test_other_token_maps_reach_everywhere(mixer):
    assert mixer.receptive_radius is None


def test_only_plain_evaluation_is_chunked():
    x = torch.zeros(2, DIM)
    assert not chunked.applies(x)
    with torch.no_grad():
        assert chunked.applies(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert not chunked.applies(x)
        with FlopCounterMode(display=False):
            assert not chunked.applies(x)
        assert not chunked.applies(x.to("meta"))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", ["sequence", "degree 4", "paper in a sequence"])
def test_a_long_sequence_alone_is_mixed_in_chunks(name, groups, monkeypatch):
    """Positions, padding and a length that is no multiple of a chunk."""
    torch.manual_seed(0)
    mixer = build_mixer({**MIXERS[name], "kernel_size": 3}, DIM)
    x, pos = torch.randn(2, groups, 301, DIM)
    mask = torch.rand(groups, 301) < 0.8
    monkeypatch.setattr(chunked, "MIXER_CHUNK_BYTES", 128 * DIM * 4)
    plain = mixer(x, pos, mask).detach()
    lengths = []
    whole = padre_module.padre
    monkeypatch.setattr(
        padre_module, "padre", lambda x, *a, **k: lengths.append(x.shape[1]) or whole(x, *a, **k)
    )
    with torch.no_grad():
        got = mixer(x, pos, mask)
    torch.testing.assert_close(got[mask], plain[mask], rtol=1e-5, atol=1e-5)
    assert max(lengths) < 140 < 301 < sum(lengths)


def test_what_is_mixed_whole():
    """Many short sets, attention over all tokens, and what records gradients or counts."""
    block = torch.empty(1, 100_000, 128)
    with torch.no_grad():
        assert chunked.chunk_length(block, 5) == 8192
        assert chunked.chunk_length(torch.empty(8, 10_000, 128), 5) == 1024
        assert chunked.chunk_length(block, 10_000) is None
        assert chunked.chunk_length(block, None) is None
        assert chunked.chunk_length(torch.empty(900, 90, 128), 5) is None
        assert chunked.chunk_length(torch.empty(1, 16_000, 128), 5) is None
    assert chunked.chunk_length(block, 5) is None


def test_hooks_act_once_whatever_the_path(monkeypatch):
    """A pre-hook that doubles its input, with gradients (whole) and without (in chunks)."""
    monkeypatch.setattr(chunked, "MIXER_CHUNK_BYTES", 128 * DIM * 4)
    torch.manual_seed(0)
    mixer = build_mixer({**MIXERS["sequence"], "kernel_size": 3}, DIM)
    calls = []
    mixer.register_forward_pre_hook(lambda _, inputs: (calls.append(1), 2 * inputs[0])[1])
    x = torch.randn(1, 301, DIM)
    whole = mixer(x).detach()
    with torch.no_grad():
        assert chunked.chunk_length(x, mixer.receptive_radius) is not None
        in_chunks = mixer(x)
    assert len(calls) == 2
    torch.testing.assert_close(in_chunks, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("chunks_of_16_rows")
@pytest.mark.parametrize("name", ["sequence", "grid", "attention"])
def test_hooks_in_a_layer_act_once_and_see_all_rows(name):
    """Whatever module of it they are on; what they keep stays as it was."""
    backbone, batch = build(name), pillars([300])
    layer = backbone.blocks[0].layers[0]
    parts = {"mixer": layer.mixer, "linear2": layer.linear2, "norm2": layer.norm2}
    seen = {part: [] for part in parts}
    for part, module in parts.items():
        module.register_forward_hook(lambda _, __, out, part=part: seen[part].append(out))
    whole = backbone(batch).features.detach()
    with torch.no_grad():
        torch.testing.assert_close(backbone(batch).features, whole, rtol=1e-5, atol=1e-5)
    for with_gradients, without in seen.values():
        torch.testing.assert_close(without, with_gradients.detach(), rtol=1e-5, atol=1e-5)
