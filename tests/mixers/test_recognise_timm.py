"""Attentions with the ``qkv`` and ``proj`` of timm's: what they compute decides, not names."""

import pytest
import torch
import torch.nn.functional as F
from test_recognise import assert_refused
from torch import nn

from padre3d.mixers import replace_attention

DIM, HEADS = 16, 2


class Owner(nn.Module):
    """``qkv`` and ``proj``, and the cut into heads: (B, N, 3 D) -> three of (B, heads, N, D_h)."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def heads(self, x):
        return self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)

    def joined(self, out):
        return self.proj(out.transpose(1, 2).flatten(2))


class Attention(Owner):
    """The whole interface of timm's class of this name: norms, a gate, dropout."""

    def __init__(self):
        super().__init__()
        self.q_norm, self.k_norm, self.norm = (nn.LayerNorm(n) for n in (8, 8, DIM))
        self.gate, self.attn_drop = nn.Linear(DIM, DIM), nn.Dropout(0.5)

    def forward(self, x, attn_mask=None, is_causal=False):
        q, k, v = self.heads(x)
        logits = self.q_norm(q) @ self.k_norm(k).transpose(-2, -1)
        out = self.attn_drop(logits.softmax(-1)) @ v
        out = self.norm(out.transpose(1, 2).flatten(2)) * self.gate(x).sigmoid()
        return self.proj(out)


class ChannelAttention(Owner):
    """As in DaViT: channels attend to channels."""

    def forward(self, x):
        q, k, v = self.heads(x)
        weights = (k.transpose(-1, -2) @ v * 8**-0.5).softmax(-1)
        return self.joined((weights @ q.transpose(-1, -2)).transpose(-1, -2))


class Unnamed(ChannelAttention):
    """The same by another name."""


class Covariance(Owner):
    """As in XCiT, without a temperature: over channels, normalised over tokens."""

    def forward(self, x):
        q, k, v = (t.transpose(-1, -2) for t in self.heads(x))
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)).softmax(-1)
        return self.joined((weights @ v).transpose(-1, -2))


class ImageAttention(Owner):
    """As in FastViT and VOLO: takes four dimensions."""

    def forward(self, x):
        batch, height, width, _ = x.shape
        out = F.scaled_dot_product_attention(*self.heads(x.flatten(1, 2)))
        return self.joined(out).unflatten(1, (height, width))


class ClassAttention(Owner):
    """As in XCiT: only the first token is changed."""

    def forward(self, x):
        q, k, v = self.heads(x)
        out = self.joined(F.scaled_dot_product_attention(q[:, :, :1], k, v))
        return torch.cat([out, x[:, 1:]], 1)


class StridedAttention(Owner):
    """As in Hiera with a stride: fewer queries than tokens."""

    def forward(self, x):
        q, k, v = self.heads(x)
        return self.joined(F.scaled_dot_product_attention(q[:, :, ::2], k, v))


class PairAttention(Owner):
    """In windows of two tokens, without saying so."""

    def forward(self, x):
        pairs = x.reshape(-1, 2, DIM)
        return self.joined(F.scaled_dot_product_attention(*self.heads(pairs))).reshape(x.shape)


class CausalAttention(Owner):
    """As in a small GPT: causal, without an attribute or a mask that says so."""

    def forward(self, x):
        return self.joined(F.scaled_dot_product_attention(*self.heads(x), is_causal=True))


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (ChannelAttention, "ChannelAttention is an attention over channels"),
        (Unnamed, "does not average the values"),
        (Covariance, "does not average the values"),
        (ClassAttention, "does not average the values"),
        (ImageAttention, r"fails on tokens \(B, N, 16\): not enough values"),
        (StridedAttention, "does not turn tokens"),
        (PairAttention, "last token does not see the first"),
    ],
)
def test_other_attentions_are_refused(attention, reason):
    assert_refused(attention(), reason)


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_the_attention_of_timm_is_replaced(place, zeros):
    model = nn.ModuleDict({"attn": Attention().to(place)})
    nn.init.constant_(model["attn"].proj.weight, 0.0 if zeros else 1.0)
    assert replace_attention(model, dict(type="self_attention", num_heads=2)).replaced == ["attn"]
    assert next(model.parameters()).device.type == place
    assert model["attn"].training


def test_a_trial_leaves_no_trace():
    attention = Unnamed().train()
    before = {name: value.clone() for name, value in attention.state_dict().items()}
    state = torch.get_rng_state()
    seen = []
    attention.register_forward_hook(lambda *of: seen.append(of))
    attention.register_forward_pre_hook(lambda *of: seen.append(of))
    assert_refused(attention, "does not average")
    assert seen == []
    assert torch.equal(torch.get_rng_state(), state)
    assert attention.training
    torch.testing.assert_close(dict(attention.state_dict()), before, rtol=0, atol=0)


def test_a_causal_attention_that_does_not_say_so_wants_a_causal_mixer():
    model = nn.ModuleDict({"attn": CausalAttention()})
    with pytest.raises(ValueError, match="attn is causal, and PADRe lets tokens see later ones"):
        replace_attention(model)
    assert replace_attention(model, dict(type="padre", causal=True)).replaced == ["attn"]
