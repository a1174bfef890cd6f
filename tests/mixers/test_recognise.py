"""What is no plain self-attention is refused, whatever it looks like from outside."""

import types

import pytest
import torch
from torch import nn

from padre3d.mixers import replace_attention

DIM = 16


def assert_refused(attention, reason, name="attn"):
    model = nn.ModuleDict({name: attention})
    with pytest.raises(ValueError, match=rf"not understood: {name}: .*{reason}"):
        replace_attention(model)
    assert model[name] is attention


class GatedMultihead(nn.MultiheadAttention):
    """Torch's attention with a weight of its own, behind torch's forward."""

    def __init__(self, name, extra):
        super().__init__(DIM, 4)
        setattr(self, name, extra)


class BiasedMultihead(nn.MultiheadAttention):
    """As :class:`nn.MultiheadAttention`, with another logit for every pair of tokens."""

    def forward(self, query, key, value, **others):
        return super().forward(query, key, value, attn_mask=torch.eye(len(query)), **others)


class NamedMultihead(nn.MultiheadAttention):
    """A subclass that changes nothing."""


@pytest.mark.parametrize(
    ("name", "extra"),
    [("gate", nn.Linear(DIM, DIM)), ("rel_bias", nn.Parameter(torch.zeros(4, 6, 6)))],
)
def test_a_multihead_attention_with_weights_of_its_own_is_refused(name, extra):
    assert_refused(GatedMultihead(name, extra), f"owns {name}, which a mixer")


def test_a_multihead_attention_with_a_forward_of_its_own_is_refused():
    assert_refused(BiasedMultihead(DIM, 4), "BiasedMultihead has a forward of its own")
    patched = nn.MultiheadAttention(DIM, 4)
    patched.forward = types.MethodType(BiasedMultihead.forward, patched)
    assert_refused(patched, "MultiheadAttention has a forward of its own")


@pytest.mark.parametrize("bias", [True, False])
def test_a_multihead_attention_of_another_name_is_replaced(bias):
    model = nn.ModuleDict({"attn": NamedMultihead(DIM, 4, bias=bias)})
    assert replace_attention(model).replaced == ["attn"]


class ViTAttention(nn.Module):
    """The interface of the class of this name in transformers before 5."""

    def __init__(self):
        super().__init__()
        self.attention, self.output = nn.Module(), nn.Module()
        for name in ("query", "key", "value"):
            setattr(self.attention, name, nn.Linear(DIM, DIM))
        self.output.dense = nn.Linear(DIM, DIM)

    def forward(self, hidden_states, head_mask=None, output_attentions=False):
        raise NotImplementedError


@pytest.mark.parametrize("owner", ["", "attention", "output"])
@pytest.mark.parametrize(
    ("name", "extra"),
    [("adapter", nn.Linear(DIM, DIM)), ("gamma", nn.Parameter(torch.ones(DIM)))],
)
def test_a_vit_attention_with_weights_of_its_own_is_refused(owner, name, extra):
    attention = ViTAttention()
    setattr(attention.get_submodule(owner), name, extra)
    assert_refused(attention, f"owns {name}, which a mixer")


def test_a_vit_attention_of_transformers_4_is_replaced():
    model = nn.ModuleDict({"attention": ViTAttention()})
    assert replace_attention(model).replaced == ["attention"]
    x = torch.randn(1, 6, DIM)
    assert model["attention"](x, None, output_attentions=False).shape == x.shape


class PositionalSelf(nn.Module):
    """As ConViT's GPSA: no class and no weights by which it is known."""

    def __init__(self):
        super().__init__()
        self.qk, self.v, self.proj = nn.Linear(DIM, 2 * DIM), nn.Linear(DIM, DIM), nn.Identity()


class BareAttention(nn.Module):
    """Softmax alone, without weights."""


class WithBareCore(PositionalSelf):
    def __init__(self):
        super().__init__()
        self.inner_attention = BareAttention()


@pytest.mark.parametrize("name", ["attn", "attention", "self_attn", "attn1", "global_attn", "mha"])
@pytest.mark.parametrize("attention", [PositionalSelf, WithBareCore])
def test_an_attention_that_is_known_by_its_place_alone_is_refused(name, attention):
    assert_refused(attention(), f"{attention.__name__} is not a known attention", name)


def block(attention):
    return nn.ModuleDict(
        {
            "attn_norm": nn.Sequential(nn.LayerNorm(DIM)),  # none of these is an attention
            "attn": attention,
            "attn_drop": nn.Dropout(),
            "self_attn_layer_norm": nn.ModuleDict({"scale": nn.LayerNorm(DIM)}),
            "attention": nn.Linear(DIM, 1),
            "self_attention": nn.Sequential(),
        }
    )


def test_other_modules_around_attention_are_no_attention():
    done = replace_attention(block(nn.MultiheadAttention(DIM, 4)))
    assert (done.replaced, done.skipped) == (["attn"], {})


def test_a_container_of_that_name_is_not_the_attention():
    model = nn.ModuleDict({"attn": nn.Sequential(nn.LayerNorm(DIM), nn.MultiheadAttention(DIM, 4))})
    assert replace_attention(model).replaced == ["attn.1"]


def test_a_full_name_is_skipped_alone():
    model = nn.ModuleDict({n: block(nn.MultiheadAttention(DIM, 4)) for n in ("first", "second")})
    model["first"]["attn"] = PositionalSelf()
    done = replace_attention(model, skip=("first.attn",))
    assert done.replaced == ["second.attn"]
    assert done.skipped == {"first.attn": "named in skip=('first.attn',)"}
    with pytest.raises(ValueError, match="found no self-attention.*left alone: second.attn"):
        replace_attention(nn.ModuleDict({"second": model["second"]}), skip=("nd.attn",))
