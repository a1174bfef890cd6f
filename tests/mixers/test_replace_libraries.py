"""Replacing the attention of timm's and transformers' own models, with random weights."""

import copy

import pytest
import torch
from model_libraries import check_training_and_export, import_or_skip
from torch import nn

from padre3d.mixers import MIXERS, replace_attention

PADRE = dict(type="padre", degree=2, preset="paper", kernel_size=3)
CAUSAL = {
    "mamba": dict(type="mamba", state=4),
    "padre": dict(type="padre", degree=3, kernel_size=5, causal=True),
    "hyena": dict(type="hyena", max_tokens=32),
}
SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)


def dependence(output, pixels, patch):
    """Largest gradient of ``output.sum()`` in each patch of pixels (1, 3, H, W)."""
    (gradient,) = torch.autograd.grad(output.sum(), pixels)
    return gradient.unfold(2, patch, patch).unfold(3, patch, patch).abs().amax((0, 1, 4, 5))


def test_timm_deit(tmp_path):
    timm = import_or_skip("timm")
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224")
    before = sum(p.numel() for p in model.parameters())
    assert len(replace_attention(model).replaced) == 12
    after = sum(p.numel() for p in model.parameters())
    assert before - after == 12 * (4 * 192**2 + 4 * 192 - 134_592)  # Table 2: 5.554 M
    assert after == 5_553_832

    small = timm.create_model("deit_tiny_patch16_224", img_size=48, depth=2)
    replace_attention(small)
    check_training_and_export(small, (torch.randn(2, 3, 48, 48),), tmp_path)


def test_timm_deit_with_the_control_has_as_many_parameters():
    timm = import_or_skip("timm")
    model = timm.create_model("deit_tiny_patch16_224", depth=1)
    for name in ("padre", "conv_control"):
        changed = copy.deepcopy(model)
        replace_attention(changed, dict(type=name))
        mixer = changed.blocks[0].attn.mixer
        assert sum(p.numel() for p in mixer.parameters()) == 134_592


@pytest.mark.parametrize("name", sorted(set(MIXERS) - {"mamba"}))  # mamba refuses a class token
def test_timm_class_token_sees_every_patch(name):
    """All 196 of a DeiT-T, in its first layer."""
    timm = import_or_skip("timm")
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", depth=1, num_classes=3).double().eval()
    # Nearest keys are all keys here: leaving some out is what that mixer is for.
    forms = {"hyena": dict(form="equations"), "knn_attention": dict(neighbours=197)}
    replace_attention(model, dict(type=name, **forms.get(name, {})))
    pixels = torch.randn(1, 3, 224, 224, dtype=torch.float64, requires_grad=True)
    felt = dependence(model(pixels)[:, 0], pixels, 16)
    assert felt.shape == (14, 14)
    assert felt.min() > 0


def test_timm_attention_with_positions_inside_is_refused():
    timm = import_or_skip("timm")
    sizes = {"beit_base_patch16_224": dict(depth=1, embed_dim=24, num_heads=2)}
    for name, reason in (
        ("swin_tiny_patch4_window7_224", "relative_position_bias_table"),
        ("eva02_tiny_patch14_224", "forward takes rope"),
        ("beit_base_patch16_224", "relative_position_bias_table"),
    ):
        with pytest.raises(ValueError, match=rf"not understood.*{reason}"):
            replace_attention(timm.create_model(name, **sizes.get(name, {})))


VITS = {
    "ViT": (dict(image_size=16, patch_size=4), 1),
    "DeiT": (dict(image_size=16, patch_size=4), 2),
    "Dinov2": (dict(image_size=16, patch_size=4), 1),
    "CLIPVision": (dict(image_size=16, patch_size=4), 1),
    "SiglipVision": (dict(image_size=16, patch_size=4, vision_use_head=False), 0),
}


@pytest.mark.parametrize("name", VITS)
def test_hugging_face_vision_models(name):
    """The first token sees every patch; the class tokens stay outside the image."""
    transformers = import_or_skip("transformers")
    arguments, prefix = VITS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL, **arguments)
    model = getattr(transformers, f"{name}Model")(config).double().eval()
    assert len(replace_attention(model, PADRE).replaced) == 2
    with torch.no_grad():
        for parameter in model.parameters():  # some class tokens and positions start at zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    mixers = [m for m in model.modules() if type(m).__name__ == "PADRe"]
    assert {(m.size, m.prefix, m.structure.a[0].dims) for m in mixers} == {((4, 4), prefix, 2)}
    pixels = torch.randn(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    tokens = model(pixels).last_hidden_state
    # A token of the prefix sees every patch; where there is none, the first patch sees itself.
    seen = dependence(tokens[0, : max(prefix, 1), 0], pixels, 4)
    assert (seen if prefix else seen[0, 0]).min() > 0


def test_hugging_face_detr_encoder(tmp_path):
    modeling_detr = import_or_skip("transformers.models.detr.modeling_detr")
    torch.manual_seed(0)
    config = modeling_detr.DetrConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64
    )
    encoder = modeling_detr.DetrEncoder(config)
    assert len(replace_attention(encoder, size=(4, 5)).replaced) == 2
    positions = (  # transformers 4 and 5
        "object_queries"
        if hasattr(modeling_detr, "DetrAttention")
        else "spatial_position_embeddings"
    )
    x, pos = torch.randn(2, 20, 32), torch.randn(2, 20, 32)
    keep = torch.ones(2, 20, dtype=torch.long)
    keep[1, 15:] = 0
    encoder.eval()
    changed = torch.where(keep[..., None] == 1, x, torch.randn_like(x))
    first, second, elsewhere = (
        encoder(inputs_embeds=t, attention_mask=keep, **{positions: p})[0]
        for t, p in ((x, pos), (changed, pos), (x, torch.randn_like(pos)))
    )
    torch.testing.assert_close(first[keep == 1], second[keep == 1])
    assert (first - elsewhere).abs().max() > 1e-3

    class Positional(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, x, pos):
            return self.encoder(inputs_embeds=x, **{positions: pos})[0]

    check_training_and_export(Positional(), (x, pos), tmp_path)


def token_model(name):
    transformers = import_or_skip("transformers")
    torch.manual_seed(0)
    limits = dict(vocab_size=50, max_position_embeddings=32)
    special = dict(bos_token_id=0, eos_token_id=1, pad_token_id=2)
    config = getattr(transformers, f"{name}Config")(**SMALL, **limits, **special)
    return getattr(transformers, f"{name}Model")(config).eval()


IDS = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10, 11, 1]])


def assert_no_leak(model, **arguments):
    """Tokens do not depend on later ones, and do on earlier ones."""
    other = IDS.clone()
    other[:, 5] = 30
    outputs = [model(input_ids=i, **arguments).last_hidden_state for i in (IDS, other)]
    change = (outputs[0] - outputs[1]).abs().amax((0, 2))
    assert change[:5].max() < 1e-6
    assert change[5:].min() > 1e-4


def test_hugging_face_causal_models_refuse_a_mixer_that_looks_ahead():
    clip = token_model("CLIPText")
    replace_attention(clip, PADRE)  # its attention is causal by its mask alone: refused in the call
    with pytest.raises(ValueError, match="asks for a causal order"):
        clip(input_ids=IDS)
    for name in ("BioGpt", "Llama"):
        with pytest.raises(ValueError, match="is causal, and PADRe lets tokens see later ones"):
            replace_attention(token_model(name), PADRE)


@pytest.mark.parametrize("mixer", CAUSAL)
@pytest.mark.parametrize("name", ["CLIPText", "BioGpt", "Llama"])
def test_hugging_face_causal_models_take_a_causal_mixer(name, mixer):
    model = token_model(name)
    assert len(replace_attention(model, CAUSAL[mixer]).replaced) == 2
    arguments = {} if name == "CLIPText" else dict(use_cache=False)
    assert_no_leak(model, **arguments)
    # padding on the right changes no real token
    keep = torch.ones_like(IDS)
    keep[:, 7:] = 0
    padded = model(input_ids=IDS, attention_mask=keep, **arguments).last_hidden_state
    alone = model(input_ids=IDS[:, :7], **arguments).last_hidden_state
    torch.testing.assert_close(padded[:, :7], alone, atol=1e-5, rtol=1e-5)


def test_hugging_face_cache_is_refused():
    model = token_model("Llama")
    replace_attention(model, CAUSAL["padre"])
    with pytest.raises(ValueError, match="expected no (cache|past_key_values)"):
        model(input_ids=IDS, use_cache=True)


def test_hugging_face_llama_trains_and_generates():
    transformers = import_or_skip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **SMALL, vocab_size=50, bos_token_id=0, eos_token_id=1, pad_token_id=2
    )
    model = transformers.LlamaForCausalLM(config)
    replace_attention(model, CAUSAL["padre"])
    model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    mixers = [p for n, p in model.named_parameters() if ".mixer." in n]
    assert len(mixers) == 2 * 12
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in mixers)
    model.eval()
    longer = model.generate(IDS, max_new_tokens=3, do_sample=False, use_cache=False)
    for step in range(10, longer.shape[1]):
        logits = model(input_ids=longer[:, :step], use_cache=False).logits
        assert logits[0, -1].argmax() == longer[0, step]


def test_hugging_face_bert_is_not_understood():
    with pytest.raises(ValueError, match="BertAttention is not a known attention"):
        replace_attention(token_model("Bert"), PADRE)
