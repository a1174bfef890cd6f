"""Size of the token image and class token, as other libraries' models say them or do not."""

import pytest
import torch
from torch import nn

from padre3d.mixers import replace_attention
from padre3d.mixers.structure import paper

DIM = 16
ALONG = dict(type="padre", dims=1)
SELF = dict(type="self_attention", num_heads=2)


def with_tokens(owner, tokens):
    for name, count in tokens.items():
        setattr(owner, name, nn.Parameter(torch.zeros(1, count, DIM)))
    return owner


class Owner(nn.Module):
    """A model with one attention, tokens (1, n, D) and further attributes."""

    def __init__(self, tokens=None, **attributes):
        super().__init__()
        with_tokens(self, tokens or {})
        for name, value in attributes.items():
            setattr(self, name, value)
        self.encoder = nn.TransformerEncoderLayer(DIM, 4, 32, batch_first=True)

    def forward(self, tokens):
        return self.encoder(tokens)


def patches(**attributes):
    conv = nn.Conv2d(3, DIM, 4, 4)
    for name, value in attributes.items():
        setattr(conv, name, value)
    return conv


def torchvision_vit():
    return Owner({"class_token": 1}, conv_proj=patches(), image_size=12, patch_size=4)


def place(model, mixer=None, **arguments):
    replace_attention(model, mixer, **arguments)
    mixer = model.encoder.self_attn.mixer
    return mixer.size, mixer.prefix


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (torchvision_vit, ((3, 3), 1)),
        (lambda: Owner(patch_embed=patches(grid_size=(3, 5))), ((3, 5), 0)),
        (
            lambda: Owner(
                {"cls_token": 1}, patch_embed=patches(grid_size=(3, 5)), num_prefix_tokens=0
            ),
            ((3, 5), 0),
        ),
        (
            lambda: Owner(
                embeddings=nn.ModuleDict({"patch_embeddings": patches(image_size=8, patch_size=4)})
            ),
            ((2, 2), 0),
        ),
        (lambda: Owner(), (None, 0)),
    ],
)
def test_what_a_model_says_is_read(model, expected):
    assert place(model()) == expected


def test_the_class_token_of_torchvision_sees_all_patches_and_no_patch_sees_it():
    torch.manual_seed(0)
    model = torchvision_vit()
    place(model, dict(type="padre", kernel_size=3))
    x = torch.randn(1, 10, DIM, requires_grad=True)
    out = model.encoder.self_attn(x, x, x)[0]
    (of_class,) = torch.autograd.grad(out[0, 0, 0], x, retain_graph=True)
    assert of_class[0].abs().amax(-1).min() > 0
    (of_patches,) = torch.autograd.grad(out[0, 1:].sum(), x)
    assert of_patches[0, 0].abs().max() == 0


def test_the_prefix_of_timm_is_read_without_a_size():
    arguments = dict(tokens={"cls_token": 1, "reg_token": 4}, num_prefix_tokens=5)
    for model in (lambda: Owner(**arguments), lambda: Owner(**arguments, patch_embed=patches())):
        with pytest.raises(ValueError, match="does not say the size of its token image"):
            replace_attention(model())
        assert place(model(), size=(2, 3)) == ((2, 3), 5)
        assert place(model(), ALONG) == (None, 5)


UNKNOWN = {
    "cls_token": lambda: Owner({"cls_token": 1}),
    "class_embedding": lambda: Owner({"class_embedding": 1}, conv1=patches()),
    "cls_token_0": lambda: Owner({"cls_token_0": 1}, patch_embed=nn.ModuleList([patches()])),
    "class_token": lambda: Owner({"class_token": 1}, conv_proj=patches()),
    "embed.cls_token": lambda: Owner(embed=with_tokens(nn.Module(), {"cls_token": 1})),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_class_token_is_never_taken_for_a_patch(name):
    model = UNKNOWN[name]
    for mixer in (None, ALONG, dict(type="mamba")):
        with pytest.raises(
            ValueError, match=f"has {name} and does not say how many.*prefix=.*size="
        ):
            replace_attention(model(), mixer)
    with pytest.raises(ValueError, match="does not say the size.*give size=.*or dims=1"):
        replace_attention(model(), prefix=1)
    assert place(model(), prefix=1, size=(2, 3)) == ((2, 3), 1)
    assert place(model(), ALONG, prefix=0) == (None, 0)
    assert replace_attention(model(), SELF).replaced == ["encoder.self_attn"]


def test_a_size_without_a_prefix_asks_for_the_prefix_alone():
    model = Owner({"cls_token": 1}, patch_embed=patches(grid_size=(3, 5)))
    with pytest.raises(ValueError, match=r"has cls_token and .*give prefix= \(0 for none\)$"):
        replace_attention(model)
    assert place(model, prefix=1) == ((3, 5), 1)


def test_tokens_behind_the_patches_are_no_prefix():
    """As in YOLOS."""
    embeddings = nn.ModuleDict({"patch_embeddings": patches()})
    with_tokens(embeddings, {"cls_token": 1, "detection_tokens": 7})
    with pytest.raises(ValueError, match="has cls_token, detection_tokens and does not say"):
        replace_attention(Owner(embeddings=embeddings))


@pytest.mark.parametrize("name", ["patch_embed", "conv_proj", "to_patch_embedding"])
def test_an_image_of_unknown_size_is_no_sequence(name):
    with pytest.raises(ValueError, match="does not say the size of its token image"):
        replace_attention(Owner(**{name: patches()}))
    assert place(Owner(**{name: patches()}), ALONG) == (None, 0)


def test_patches_of_a_video_have_no_size():
    """Of ViViT: 112 x 14 is no image, though 16 frames have as many patches."""
    cube = patches(image_size=224, patch_size=(2, 16, 16))
    model = Owner(embeddings=nn.ModuleDict({"patch_embeddings": cube}))
    with pytest.raises(ValueError, match="does not say the size of its token image"):
        replace_attention(model)


@pytest.mark.parametrize("name", ["padre", "conv_control"])
def test_a_structure_in_2d_gets_the_size_of_the_model(name):
    structure = dict(type=name, structure=paper(2, 3, dims=2))
    model = torchvision_vit()
    assert place(model, structure) == ((3, 3), 1)
    assert model(torch.randn(1, 10, DIM)).shape == (1, 10, DIM)
    assert place(Owner(), structure, size=(2, 3)) == ((2, 3), 0)
    assert place(torchvision_vit(), dict(type=name, structure=paper(2, 3))) == (None, 1)
    with pytest.raises(ValueError, match="does not say the size of its token image"):
        replace_attention(Owner(conv_proj=patches()), structure)
