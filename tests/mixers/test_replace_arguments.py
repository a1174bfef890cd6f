"""Arguments of replace_attention and set_token_size: what is taken and what is refused."""

import pytest
import torch
from torch import nn

from padre3d.mixers import MIXERS, PADRe, build_mixer, replace_attention, set_token_size
from padre3d.mixers.mixer import Mixer
from padre3d.mixers.structure import paper

DIM = 16
IN_2D = ["conv2former", "conv_control", "focused_linear", "padre", "padre_rational"]


def model():
    return nn.ModuleDict({"attn": nn.MultiheadAttention(DIM, 4, batch_first=True)})


@pytest.mark.parametrize("name", IN_2D)
def test_a_size_reaches_mixers_that_had_none(name):
    torch.manual_seed(0)
    mixer = build_mixer(dict(type=name, kernel_size=3, dims=2), DIM)
    assert mixer.size is None
    set_token_size(mixer, (2, 3))
    assert mixer.size == (2, 3)
    x = torch.randn(1, 6, DIM)
    first = mixer(x)
    set_token_size(mixer, [3, 2])
    assert mixer.size == (3, 2)
    assert not torch.equal(mixer(x), first)


def test_the_list_of_mixers_with_a_size_is_complete():
    built = {n: build_mixer(dict(type=n, dims=2), DIM) for n in IN_2D}
    others = set(MIXERS) - set(built)
    for name in others:
        with pytest.raises(ValueError, match="cannot be built"):
            build_mixer(dict(type=name, dims=2), DIM)


def test_a_size_leaves_mixers_along_the_sequence_alone():
    both = nn.ModuleList([PADRe(DIM), PADRe(DIM, structure=paper(2, 3, dims=2))])
    set_token_size(both, (2, 3))
    assert [mixer.size for mixer in both] == [None, (2, 3)]
    assert both[0](torch.randn(1, 5, DIM)).shape == (1, 5, DIM)


def test_a_size_reaches_mixers_with_maps_of_their_own():
    other = Mixer()
    other.size = (3, 2)
    set_token_size(other, (2, 3))
    assert other.size == (2, 3)


@pytest.mark.parametrize("size", [("x", 3), (0, 3), (2.0, 3), (True, 3), (1, 2, 3), 5, None])
def test_a_size_is_two_integers(size):
    mixer = PADRe(DIM, dims=2, size=(2, 3))
    with pytest.raises(ValueError, match=r"expected (\(H, W\)|an integer >= 1), got"):
        set_token_size(mixer, size)
    assert mixer.size == (2, 3)


@pytest.mark.parametrize("size", [("x", 3), (0, 3), (2.0, 3), (True, 3), (1, 2, 3), 5])
def test_a_size_of_a_replacement_is_two_integers(size):
    with pytest.raises(ValueError, match="token image size"):
        replace_attention(model(), size=size)


def test_a_size_that_no_mixer_takes_is_refused():
    with pytest.raises(ValueError, match="expected a model with 2-D mixers, got PADRe without"):
        set_token_size(PADRe(DIM), (2, 3))


def test_a_size_may_be_said_twice_as_a_list_too():
    replaced = model()
    replace_attention(replaced, dict(type="padre", size=[2, 3]), size=(2, 3))
    assert replaced["attn"].mixer.size == (2, 3)


@pytest.mark.parametrize("prefix", ["x", -1, True])
def test_a_prefix_is_a_count_for_every_mixer(prefix):
    with pytest.raises(ValueError, match="prefix: expected an integer >= 0"):
        replace_attention(model(), dict(type="self_attention", num_heads=2), prefix=prefix)


def test_skip_is_no_string():
    """Its letters would be names, and nothing would be skipped."""
    with pytest.raises(ValueError, match=r"skip: expected names such as \('attn',\)"):
        replace_attention(model(), skip="attn")
