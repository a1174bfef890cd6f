"""Replaced attention inside torch's own encoders, which have fused paths and nested tensors."""

import pytest
import torch
from torch import nn

from padre3d.mixers import replace_attention

DIM, TOKENS = 16, 6
MIXER = dict(type="padre", kernel_size=3)
PADDING = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])


def encoder_layer():
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(DIM, 4, 32, dropout=0.0, batch_first=True)


def whole(encoder):
    replace_attention(encoder, MIXER)


def layer_by_layer(encoder):
    for layer in encoder.layers:
        replace_attention(layer, MIXER)


def second_layer(encoder):
    replace_attention(encoder, MIXER, skip=("0",))


def first_layer(encoder):
    replace_attention(encoder.layers[0], MIXER)


def assert_padding_changes_nothing(encoder):
    x = torch.randn(2, TOKENS, DIM)
    out = encoder(x, src_key_padding_mask=PADDING)
    torch.testing.assert_close(out[1:, :4], encoder(x[1:, :4]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out[:1], encoder(x[:1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("replace", [whole, layer_by_layer, second_layer, first_layer])
def test_an_encoder_with_defaults_takes_padding(replace, gradients):
    encoder = nn.TransformerEncoder(encoder_layer(), 2).eval()
    assert encoder.use_nested_tensor
    replace(encoder)
    with torch.set_grad_enabled(gradients):
        assert_padding_changes_nothing(encoder)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_transformer_with_defaults_takes_padding(gradients):
    torch.manual_seed(0)
    model = nn.Transformer(DIM, 4, 2, 1, 32, dropout=0.0, batch_first=True).eval()
    assert len(replace_attention(model, MIXER).replaced) == 2
    with torch.set_grad_enabled(gradients):
        assert_padding_changes_nothing(model.encoder)
        x, target = torch.randn(2, TOKENS, DIM), torch.randn(2, 3, DIM)
        masks = dict(src_key_padding_mask=PADDING, memory_key_padding_mask=PADDING)
        alone = model(x[1:, :4], target[1:])
        torch.testing.assert_close(model(x, target, **masks)[1:], alone, atol=1e-5, rtol=1e-5)


def test_an_encoder_is_built_from_a_replaced_layer():
    layer = encoder_layer()
    replace_attention(layer, MIXER)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    assert not encoder.use_nested_tensor
    with torch.no_grad():
        assert_padding_changes_nothing(encoder)


def test_an_encoder_without_replaced_layers_keeps_its_nested_tensors():
    model = nn.ModuleDict({name: nn.TransformerEncoder(encoder_layer(), 1) for name in "ab"})
    replace_attention(model, MIXER, skip=("b",))
    assert (model["a"].use_nested_tensor, model["b"].use_nested_tensor) == (False, True)


def test_nested_tensors_are_refused():
    encoder = nn.TransformerEncoder(encoder_layer(), 2).eval()
    replace_attention(encoder.layers[1], MIXER)  # the encoder itself is out of sight
    with torch.no_grad(), pytest.raises(ValueError, match="use_nested_tensor=False"):
        encoder(torch.randn(2, TOKENS, DIM), src_key_padding_mask=PADDING)
    encoder.use_nested_tensor = False
    with torch.no_grad():
        assert_padding_changes_nothing(encoder)
