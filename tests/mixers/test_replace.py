"""Replacing the attention of other models: forward, backward, ONNX, class token, masks."""

import importlib.util
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from padre3d.mixers import PADRe, replace_attention, set_token_size
from padre3d.mixers.replace import DetrAdapter, MultiheadAdapter, ViTAdapter

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


def onnx_output(model, inputs, path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(model.eval(), inputs, path, dynamo=True)
    session = onnxruntime.InferenceSession(path)
    feeds = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
    return torch.tensor(session.run(None, feeds)[0])


def check_training_and_export(model, inputs, tmp_path, output=lambda out: out):
    """Gradients reach every parameter of every mixer; the ONNX file gives the same numbers."""
    output(model(*inputs)).square().mean().backward()
    mixers = [m for m in model.modules() if isinstance(m, PADRe)]
    assert mixers
    for mixer in mixers:
        for name, parameter in mixer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0, name
    with torch.no_grad():
        expected = output(model.eval()(*inputs))
    got = onnx_output(model, inputs, tmp_path / "model.onnx")
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_vit_runs_trains_and_exports(tmp_path):
    torch.manual_seed(0)
    model = SmallViT()
    assert replace_attention(model) == ["blocks.0.attn", "blocks.1.attn"]
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
    assert replace_attention(model, size=(2, 3)) == ["encoder.self_attn"]
    adapter = model["encoder"]["self_attn"]
    assert isinstance(adapter, DetrAdapter)
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
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    mixer = dict(type="padre", degree=3, preset="sequence", kernel_size=3)
    assert len(replace_attention(model, mixer)) == 2
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
    with pytest.raises(ValueError, match="expected self-attention without attn_mask"):
        adapter(x, x[:, :2], x[:, :2])
    with pytest.raises(ValueError, match="expected attn_mask=None"):
        ViTAdapter(PADRe(DIM))(x, x)


def import_or_skip(name):
    """A model library. It imports torchvision, whose compiled operators it does not call here.

    Those are missing where torchvision is a build for CUDA and torch one for the CPU. Declared
    without an implementation, they let the import pass.
    """
    library = name.split(".")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed: pip install -r requirements/extras.txt")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        for operator in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
    return importlib.import_module(name)


def test_timm_deit(tmp_path):
    timm = import_or_skip("timm")
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224")
    before = sum(p.numel() for p in model.parameters())
    assert len(replace_attention(model)) == 12
    after = sum(p.numel() for p in model.parameters())
    assert before - after == 12 * (4 * 192**2 + 4 * 192 - 134_592)  # Table 2: 5.554 M
    assert after == 5_553_832

    small = timm.create_model("deit_tiny_patch16_224", img_size=48, depth=2)
    replace_attention(small)
    check_training_and_export(small, (torch.randn(2, 3, 48, 48),), tmp_path)


def test_hugging_face_detr_encoder(tmp_path):
    modeling_detr = import_or_skip("transformers.models.detr.modeling_detr")
    torch.manual_seed(0)
    config = modeling_detr.DetrConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64
    )
    encoder = modeling_detr.DetrEncoder(config)
    assert len(replace_attention(encoder, size=(4, 5))) == 2
    x, pos = torch.randn(2, 20, 32), torch.randn(2, 20, 32)
    keep = torch.ones(2, 20, dtype=torch.long)
    keep[1, 15:] = 0
    encoder.eval()
    changed = torch.where(keep[..., None] == 1, x, torch.randn_like(x))
    first, second = (
        encoder(inputs_embeds=t, attention_mask=keep, spatial_position_embeddings=pos)[0]
        for t in (x, changed)
    )
    torch.testing.assert_close(first[keep == 1], second[keep == 1])

    class Positional(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, x, pos):
            return self.encoder(inputs_embeds=x, spatial_position_embeddings=pos)[0]

    check_training_and_export(Positional(), (x, pos), tmp_path)
