"""Set attention is torch's multi-head attention with positions in queries and keys only."""

import pytest
import torch

from padre3d.mixers import SetAttention


@pytest.mark.parametrize("impl", ["sdpa", "explicit"])
def test_equals_multihead_attention_with_its_state_dict(impl):
    torch.manual_seed(0)
    reference = torch.nn.MultiheadAttention(24, 4, batch_first=True)
    torch.nn.init.normal_(reference.in_proj_bias)
    torch.nn.init.normal_(reference.out_proj.bias)
    mixer = SetAttention(24, 4, impl)
    mixer.self_attn.load_state_dict(reference.state_dict())
    x, pos = torch.randn(5, 9, 24), torch.randn(5, 9, 24)
    mask = torch.rand(5, 9) < 0.6
    mask[:, 0] = True
    expected, _ = reference(x + pos, x + pos, x, key_padding_mask=~mask)
    torch.testing.assert_close(mixer(x, pos, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_dropout_is_on_the_attention_weights():
    """With one seed the formula and torch's module drop the same weights."""
    torch.manual_seed(0)
    reference = torch.nn.MultiheadAttention(24, 4, dropout=0.4, batch_first=True)
    mixer = SetAttention(24, 4, "explicit", dropout=0.4)
    mixer.self_attn.load_state_dict(reference.state_dict())
    x = torch.randn(5, 9, 24)
    torch.manual_seed(1)
    found = mixer(x)
    torch.manual_seed(1)
    torch.testing.assert_close(found, reference(x, x, x)[0], atol=1e-5, rtol=1e-5)
    assert (mixer(x) - found).abs().max() > 0.01
    torch.testing.assert_close(mixer.eval()(x), reference.eval()(x, x, x)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("impl", ["sdpa", "explicit"])
def test_dropout_keeps_the_mean(impl):
    torch.manual_seed(0)
    mixer = SetAttention(8, 2, impl, dropout=0.5)
    x = torch.randn(1, 6, 8)
    with torch.no_grad():
        drawn = mixer(x.expand(20000, -1, -1))
        assert drawn.std(0).max() > 0.05
        # The standard error of the mean is below 1 % of the deviation.
        bound = 6 * drawn.std(0).max().item() / 20000**0.5
        torch.testing.assert_close(drawn.mean(0), mixer.eval()(x)[0], atol=bound, rtol=0)


def test_parameter_names_are_those_of_multihead_attention():
    assert sorted(SetAttention(16, 4).state_dict()) == [
        "self_attn.in_proj_bias",
        "self_attn.in_proj_weight",
        "self_attn.out_proj.bias",
        "self_attn.out_proj.weight",
    ]


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="divisor of dim = 10, got 4"):
        SetAttention(10, 4)
    with pytest.raises(ValueError, match="dropout: expected a probability below 1, got 1"):
        SetAttention(8, 4, dropout=1)
