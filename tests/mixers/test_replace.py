"""Replacing the attention of other models: forward, backward, ONNX, class token, masks."""

import pytest
import torch
import torch.nn.functional as F
from model_libraries import check_training_and_export
from torch import nn

from padre3d.mixers import MIXERS, PADRe, replace_attention, set_token_size
from padre3d.mixers.adapters import MultiheadAdapter, TimmAdapter, TransformersAdapter

DIM = 16


class Attention(nn.Module):
    """The interface of timm's class of this name."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x, attn_mask=None):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask))


class SmallViT(nn.Module):
    """The parts of timm's VisionTransformer that the replacement reads."""

    num_prefix_tokens = 1

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, DIM, 4, 4)
        self.patch_embed.grid_size = (3, 5)
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm": nn.LayerNorm(DIM), "attn": Attention()}) for _ in range(2)
        )

    def forward(self, image):
        patches = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(image), -1, -1), patches], 1)
        for block in self.blocks:
            x = x + block["attn"](block["norm"](x), attn_mask=None)
        return x


def test_vit_runs_trains_and_exports(tmp_path):
    torch.manual_seed(0)
    model = SmallViT()
    assert replace_attention(model).replaced == ["blocks.0.attn", "blocks.1.attn"]
    mixer = model.blocks[0]["attn"].mixer
    assert (mixer.size, mixer.prefix, mixer.structure.a[0].dims) == ((3, 5), 1, 2)
    check_training_and_export(model, (torch.randn(2, 3, 12, 20),), tmp_path)


def test_class_token_sees_all_patches_and_no_patch_sees_it():
    torch.manual_seed(0)
    mixer = PADRe(DIM, 2, "paper", 3, dims=2, size=(3, 5), prefix=1)
    x = torch.randn(1, 16, DIM, requires_grad=True)
    out = mixer(x)
    (from_class,) = torch.autograd.grad(out[0, 0].sum(), x, retain_graph=True)
    assert (from_class.abs().amax(-1) > 0).all()
    (from_patches,) = torch.autograd.grad(out[0, 1:].sum(), x)
    assert from_patches[0, 0].abs().max() == 0
    patches_alone = PADRe(DIM, 2, "paper", 3, dims=2, size=(3, 5))
    patches_alone.load_state_dict(mixer.state_dict())
    torch.testing.assert_close(out[:, 1:], patches_alone(x[:, 1:]))
    with pytest.raises(ValueError, match="prefix tokens: expected mask=None"):
        mixer(x, None, torch.ones(1, 16, dtype=torch.bool))


class DetrSelfAttention(nn.Module):
    """The interface of Hugging Face's class of this name."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(DIM, DIM) for _ in range(4))


class DetrCrossAttention(DetrSelfAttention):
    pass


def test_detr_encoder_attention_sees_positions_and_masks():
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "encoder": nn.ModuleDict({"self_attn": DetrSelfAttention()}),
            "decoder": nn.ModuleDict({"self_attn": DetrSelfAttention()}),
            "other": nn.ModuleDict({"encoder_attn": DetrCrossAttention()}),
        }
    )
    done = replace_attention(model, size=(2, 3))
    assert done.replaced == ["encoder.self_attn"]
    assert done.skipped == {
        "decoder.self_attn": "named in skip=('decoder',)",
        "other.encoder_attn": "cross-attention",
    }
    adapter = model["encoder"]["self_attn"]
    assert isinstance(adapter, TransformersAdapter)
    x, pos = torch.randn(2, 6, DIM), torch.randn(2, 6, DIM)
    keep = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    expected = adapter.mixer(x, pos, keep)
    square = keep[:, None, None].expand(2, 1, 6, 6)
    additive = torch.zeros(2, 1, 6, 6).masked_fill(~square, torch.finfo(torch.float32).min)
    for mask in (square, additive):
        out, weights = adapter(x, attention_mask=mask, position_embeddings=pos)
        assert weights is None
        torch.testing.assert_close(out, expected)
    torch.testing.assert_close(adapter(x, square, object_queries=pos)[0], expected)

    set_token_size(model, (3, 2))
    assert adapter.mixer.size == (3, 2)
    assert not torch.equal(adapter(x, square, pos)[0], expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_torch_encoder_runs_and_trains(batch_first, tmp_path):
    """nn.MultiheadAttention as in the original DETR: positions already in the query."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(DIM, 4, 32, dropout=0.0, batch_first=batch_first)
    model = nn.TransformerEncoder(layer, 2)
    mixer = dict(type="padre", degree=3, preset="sequence", kernel_size=3)
    assert len(replace_attention(model, mixer).replaced) == 2
    assert isinstance(model.layers[1].self_attn, MultiheadAdapter)
    x = torch.randn(2, 6, DIM)
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    given = x if batch_first else x.transpose(0, 1)
    out = model.eval()(given, src_key_padding_mask=padding)
    out = out if batch_first else out.transpose(0, 1)
    short = x[1:, :4] if batch_first else x[1:, :4].transpose(0, 1)
    alone = model(short) if batch_first else model(short).transpose(0, 1)
    torch.testing.assert_close(out[1:, :4], alone)
    check_training_and_export(model.train(), (given,), tmp_path)


def test_other_mixers_and_dtypes():
    model = SmallViT().double()
    replace_attention(model, dict(type="set_attention", num_heads=2))
    assert model(torch.randn(1, 3, 12, 20).double()).dtype == torch.float64


def test_what_cannot_be_replaced_is_named():
    with pytest.raises(ValueError, match="found no self-attention in Linear"):
        replace_attention(nn.Linear(2, 2))
    adapter = MultiheadAdapter(PADRe(DIM), batch_first=True)
    x = torch.zeros(1, 4, DIM)
    with pytest.raises(ValueError, match="expected self-attention, got queries"):
        adapter(x, x[:, :2], x[:, :2])
    with pytest.raises(ValueError, match="expected no attn_mask"):
        TimmAdapter(PADRe(DIM))(x, x)


# What each mixer needs to be built, and why it cannot have a class token in front of its patches.
HEADS = ["set_attention", "self_attention", "sima", "castling", "linear_angular"]
HEADS += ["focused_linear", "efficient", "enhanced_linear", "knn_attention"]
ARGUMENTS = {name: dict(num_heads=2) for name in HEADS} | {"hyena": dict(form="equations")}
REFUSED = {"mamba", "hyena"}


@pytest.mark.parametrize("name", sorted(set(MIXERS) - {"mamba"}))
def test_the_class_token_depends_on_every_patch(name):
    torch.manual_seed(0)
    model = SmallViT().double()
    replace_attention(model, dict(type=name, **ARGUMENTS.get(name, {})))
    image = torch.randn(1, 3, 12, 20, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image)[0, 0].sum(), image)
    of_patch = gradient.unflatten(2, (3, 4)).unflatten(4, (5, 4)).abs().sum((0, 1, 3, 5))
    assert of_patch.shape == (3, 5)
    assert of_patch.min() > 1e-9


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_mixer_without_a_place_for_the_class_token_is_refused(name):
    model = SmallViT()
    reason = "Hyena.*would see none" if name == "hyena" else "mamba.*no place for the 1 token"
    with pytest.raises(ValueError, match=reason):
        replace_attention(model, dict(type=name))
    assert isinstance(model.blocks[0]["attn"], Attention)
    model.num_prefix_tokens = 0
    assert len(replace_attention(model, dict(type=name)).replaced) == 2


def test_the_control_has_the_parameters_of_padre_in_an_image_too():
    counts = []
    for name in ("padre", "conv_control"):
        model = SmallViT()
        replace_attention(model, dict(type=name))
        counts.append(sum(p.numel() for p in model.parameters()))
        assert model.blocks[0]["attn"].mixer.structure.c[0].dims == 2
    assert counts[0] == counts[1]


def test_what_is_said_is_never_overruled():
    along_rows = dict(type="padre", dims=1)
    model = SmallViT()
    replace_attention(model, along_rows)
    mixer = model.blocks[0]["attn"].mixer
    assert (mixer.size, mixer.prefix, mixer.structure.c[0].dims) == (None, 1, 1)
    model = SmallViT()
    replace_attention(model, dict(type="conv2former", size=(5, 3), prefix=0))
    mixer = model.blocks[0]["attn"].mixer
    assert (mixer.size, mixer.prefix) == ((5, 3), 0)
    with pytest.raises(ValueError, match=r"size=\(3, 5\): expected None with dims=1"):
        replace_attention(SmallViT(), along_rows, size=(3, 5))
    with pytest.raises(ValueError, match="size: expected one value"):
        replace_attention(SmallViT(), dict(type="padre", size=(5, 3)), size=(3, 5))
    with pytest.raises(ValueError, match="'mamba' has no 2-D form"):
        replace_attention(SmallViT(), dict(type="mamba"), size=(3, 5), prefix=0)
    with pytest.raises(ValueError, match="mixer: expected dict"):
        replace_attention(SmallViT(), dict(degree=2))


def decoder():
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(DIM, 4, 32, dropout=0.0, batch_first=True)
    return nn.TransformerDecoder(layer, 2).eval()


def test_cross_attention_stays_and_its_memory_counts():
    model = decoder()
    done = replace_attention(model, dict(type="padre", kernel_size=3))
    assert done.replaced == ["layers.0.self_attn", "layers.1.self_attn"]
    assert set(done.skipped.values()) == {"cross-attention"}
    x, memory = torch.randn(2, 6, DIM), torch.randn(2, 6, DIM)
    assert (model(x, memory) - model(x, torch.randn(2, 6, DIM))).abs().max() > 1e-3
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    with pytest.raises(ValueError, match="PADRe"):
        model(x, memory, tgt_mask=mask, tgt_is_causal=True)
    with pytest.raises(ValueError, match="attn_mask"):
        model(x, memory, tgt_mask=mask, tgt_is_causal=False)


def test_a_causal_mixer_takes_the_causal_mask_and_no_other():
    model = decoder().double()
    replace_attention(model, dict(type="mamba", state=4))
    x, memory = torch.randn(2, 2, 6, DIM, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    changed = torch.cat([x[:, :4], torch.randn(2, 2, DIM, dtype=torch.float64)], 1)
    outputs = [model(t, memory, tgt_mask=mask, tgt_is_causal=True) for t in (x, changed)]
    torch.testing.assert_close(outputs[0][:, :4], outputs[1][:, :4])
    with pytest.raises(ValueError, match="attn_mask"):
        model(x, memory, tgt_mask=mask.T)


def test_equal_keys_are_self_attention_and_other_keys_are_not():
    adapter = MultiheadAdapter(PADRe(DIM), batch_first=True)
    x = torch.randn(1, 6, DIM)
    torch.testing.assert_close(adapter(x, x.clone(), x)[0], adapter(x, x, x)[0])
    with pytest.raises(ValueError, match="expected self-attention"):
        adapter(x, torch.randn(1, 6, DIM), x)
    with pytest.raises(ValueError, match="need_weights"):
        adapter(x, x, x, need_weights=True)
    alone = MultiheadAdapter(adapter.mixer, batch_first=False)
    torch.testing.assert_close(alone(x[0], x[0], x[0])[0], adapter(x, x, x)[0][0])


def test_a_single_attention_cannot_be_replaced_in_place():
    with pytest.raises(ValueError, match="expected a model that contains attention"):
        replace_attention(nn.MultiheadAttention(DIM, 4))


def test_a_shared_module_is_replaced_under_all_its_names():
    shared = nn.MultiheadAttention(DIM, 4)
    model = nn.ModuleDict({"first": nn.ModuleDict({"attn": shared}), "attn": shared})
    assert sorted(replace_attention(model).replaced) == ["attn", "first.attn"]
    assert model["attn"] is model["first"]["attn"]
    assert isinstance(model["attn"], MultiheadAdapter)


class WindowAttention(Attention):
    """As Swin's: a bias for every pair of places."""

    def __init__(self):
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 4))


class RotaryAttention(Attention):
    def forward(self, x, rope=None):
        raise NotImplementedError


class UnknownAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.everything = nn.Linear(DIM, DIM)


class AttentionPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(DIM, 4)


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (WindowAttention, "owns relative_position_bias_table"),
        (RotaryAttention, "forward takes rope"),
        (UnknownAttention, "UnknownAttention is not a known attention"),
        (lambda: nn.MultiheadAttention(DIM, 4, add_bias_kv=True), "adds a key and a value"),
        (
            lambda: nn.MultiheadAttention(DIM, 4, add_zero_attn=True),
            "adds a key and a value of its",
        ),
        (lambda: nn.MultiheadAttention(DIM, 4, kdim=5), "keys or values of another width"),
    ],
)
def test_what_is_not_understood_raises_unless_it_is_skipped(attention, reason):
    model = nn.ModuleDict({"odd": attention(), "plain": Attention(), "pool": AttentionPool()})
    with pytest.raises(ValueError, match=rf"not understood: odd: .*{reason}.*skip="):
        replace_attention(model)
    assert isinstance(model["plain"], Attention)
    done = replace_attention(model, skip=("odd",))
    assert done.replaced == ["plain"]
    assert done.skipped == {
        "odd": "named in skip=('odd',)",
        "pool.attention": "attention pooling: its queries are not the tokens",
    }


def test_a_mask_that_is_more_than_padding_is_refused():
    adapter = replaced_projections()
    x = torch.randn(2, 6, DIM)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None].expand(2, 1, 6, 6)
    additive = torch.zeros(2, 1, 6, 6).masked_fill(~causal, -torch.inf)
    for mask in (causal, additive):
        with pytest.raises(ValueError, match="differs between queries"):
            adapter(x, attention_mask=mask)
    slopes = -torch.arange(6.0).expand(2, 1, 6, 6)
    with pytest.raises(ValueError, match="a bias of the logits"):
        adapter(x, attention_mask=slopes)
    with pytest.raises(ValueError, match="attention_mask: expected"):
        adapter(x, attention_mask=torch.ones(2, 6))
    keep = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    expected = adapter.mixer(x, None, keep)
    for mask in (keep, keep.long(), keep[:, None, None]):
        torch.testing.assert_close(adapter(x, attention_mask=mask)[0], expected)
    mask = keep[:, None, None].clone()
    adapter(x, attention_mask=mask)
    mask[:] = True  # the same tensor with other values is read again
    torch.testing.assert_close(adapter(x, attention_mask=mask)[0], adapter(x)[0])


def replaced_projections(mixer=None):
    torch.manual_seed(0)
    model = nn.ModuleDict({"self_attn": DetrSelfAttention()})
    replace_attention(model, mixer)
    return model["self_attn"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(is_causal=True), "asks for a causal order, PADRe"),
        (dict(causal_attention_mask=torch.zeros(1)), "asks for a causal order"),
        (dict(key_value_states=torch.zeros(1, 6, DIM)), "expected no key_value_states"),
        (dict(past_key_values=object()), "expected no past_key_values"),
        (dict(relative_position_bias=torch.zeros(6, 6)), "expected no relative_position_bias"),
        (dict(output_attentions=True), "expected no output_attentions"),
    ],
)
def test_nothing_is_swallowed(arguments, message):
    adapter, x = replaced_projections(), torch.randn(1, 6, DIM)
    with pytest.raises(ValueError, match=message):
        adapter(x, **arguments)
    adapter(x, **dict.fromkeys(arguments), use_cache=False)


def test_rotary_positions_are_for_mixers_that_know_the_order():
    x, rotary = torch.randn(1, 6, DIM), (torch.ones(1, 6, 4), torch.zeros(1, 6, 4))
    adapter = replaced_projections()
    torch.testing.assert_close(adapter(x, position_embeddings=rotary), adapter(x))
    attention = replaced_projections(dict(type="self_attention", num_heads=2))
    with pytest.raises(ValueError, match="SelfAttention knows no order of its own"):
        attention(x, position_embeddings=rotary)


def test_a_mixer_is_not_replaced_twice():
    model = SmallViT()
    replace_attention(model)
    with pytest.raises(ValueError, match="found no self-attention.*already a mixer"):
        replace_attention(model)
