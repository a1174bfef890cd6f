"""What the backbone asks of a mixer, for every registered one: declared, and true."""

import ast

import pytest
import torch
from test_interface import CONFIGS, DIM, make

from padre3d.mixers import MIXERS, build_mixer
from padre3d.mixers.mixer import LAYOUTS, Mixer

CONTRACT = ("layout", "repeats_are_tokens", "receptive_radius", "has_fused_layer")
ONE_DIMENSIONAL = [cfg for cfg in CONFIGS if cfg.get("layout") != "grid" and cfg.get("dims") != 2]


@pytest.mark.parametrize("cfg", CONFIGS, ids=str)
def test_every_mixer_declares_the_contract(cfg):
    mixer = build_mixer(cfg, DIM)
    assert isinstance(mixer, Mixer)
    assert type(mixer) is MIXERS[cfg["type"]]
    assert mixer.dim == DIM
    assert mixer.layout in LAYOUTS
    assert isinstance(mixer.repeats_are_tokens, bool)
    assert mixer.has_fused_layer is False
    with pytest.raises(NotImplementedError, match="no fused layer"):
        Mixer.fused_weights(mixer)


@pytest.mark.parametrize("cfg", ONE_DIMENSIONAL, ids=str)
def test_no_token_beyond_the_receptive_radius_is_felt(cfg):
    mixer = make(cfg)
    x = torch.randn(1, 61, DIM, requires_grad=True)
    mixer(x)[0, 30].sum().backward()
    felt = x.grad[0].abs().sum(1).nonzero().flatten()
    distance = int((felt - 30).abs().max())
    bound = 60 if mixer.receptive_radius is None else mixer.receptive_radius
    assert distance <= bound


def test_a_radius_too_small_would_be_found():
    mixer = make(dict(type="padre", degree=2, kernel_size=11))
    x = torch.randn(1, 61, DIM, requires_grad=True)
    mixer(x)[0, 30].sum().backward()
    felt = x.grad[0].abs().sum(1).nonzero().flatten()
    assert int((felt - 30).abs().max()) == mixer.receptive_radius == 5


@pytest.mark.parametrize("file", ["backbone/encoder.py", "backbone/voxel.py", "ops/chunked.py"])
def test_nobody_asks_for_an_attribute_by_its_name_as_a_string(file, repo_root):
    tree = ast.parse((repo_root / "padre3d" / file).read_text())
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [func.id for func in calls if isinstance(func, ast.Name)]
    assert not {"getattr", "hasattr"} & set(names)


def test_the_contract_is_what_the_base_class_has():
    assert all(hasattr(Mixer, name) for name in CONTRACT)
