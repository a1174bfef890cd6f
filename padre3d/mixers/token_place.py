"""What a model says of the tokens around one of its modules: an image, behind a class token or not.

Read from attributes, as :mod:`padre3d.mixers.recognise` does. What a model does not say stays
unknown: a class token that is taken for a patch makes no error, only a worse network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from padre3d.mixers.token_image import Size

# Parameters that are tokens of their own. "mask_token" is none: it stands for patches.
EXTRA_TOKEN = re.compile(
    "(cls|class|dist|distillation|reg|register|det|detection)_(tokens?|embedding)(_[0-9]+)?"
)
TRANSFORMERS_PREFIX = ("cls_token", "class_embedding", "distillation_token", "register_tokens")
PATCHES = ("patch_embed", "patch_embedding", "patch_embeddings", "to_patch_embedding", "conv_proj")


@dataclass(frozen=True)
class TokenPlace:
    """Where tokens lie.

    Attributes:
        size: (H, W) of the image, or None if the model does not say it.
        prefix: tokens in front of the image or sequence, or None if there are some and the model
            does not say how many.
        is_image: whether it is an image model.
        extra: names of the parameters that are tokens of their own.
    """

    size: Size | None = None
    prefix: int | None = 0
    is_image: bool = False
    extra: tuple[str, ...] = ()


def token_place(model: nn.Module, name: str) -> TokenPlace:
    """What the nearest ViT around the module ``name`` says; a sequence if there is none."""
    parts = name.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        owner = model.get_submodule(".".join(parts[:depth]))
        for read in (_timm, _transformers, _torchvision, _other):
            place = read(owner)
            if place is not None:
                return place
    return TokenPlace()


def _timm(owner: nn.Module) -> TokenPlace | None:
    """``patch_embed.grid_size`` and ``num_prefix_tokens``, which need not come together."""
    patches = getattr(owner, "patch_embed", None)
    prefix = getattr(owner, "num_prefix_tokens", None)
    if prefix is None and not hasattr(patches, "grid_size"):
        return None
    extra = tuple(_extra_tokens(owner))
    if prefix is None and not extra:
        prefix = 0
    return TokenPlace(_pair(getattr(patches, "grid_size", None)), prefix, True, extra)


def _transformers(owner: nn.Module) -> TokenPlace | None:
    """The patch embedding in ``embeddings`` and the tokens beside it."""
    embeddings = getattr(owner, "embeddings", None)
    for child in ("patch_embeddings", "patch_embedding"):
        patches = getattr(embeddings, child, None)
        if isinstance(embeddings, nn.Module) and isinstance(patches, nn.Module):
            extra = tuple(_extra_tokens(embeddings))
            tokens = [embeddings.get_parameter(name) for name in extra]
            prefix = sum(1 if t.dim() < 3 else t.shape[1] for t in tokens)
            is_known = set(extra) <= set(TRANSFORMERS_PREFIX)
            size = _grid(patches) or _grid(embeddings)
            return TokenPlace(size, prefix if is_known else None, True, extra)
    return None


def _torchvision(owner: nn.Module) -> TokenPlace | None:
    """``image_size``, ``patch_size`` and one ``class_token``."""
    token, patches = getattr(owner, "class_token", None), getattr(owner, "conv_proj", None)
    size = _grid(owner)
    if not isinstance(token, nn.Parameter) or not isinstance(patches, nn.Module) or size is None:
        return None
    return TokenPlace(size, token.shape[1], True, ("class_token",))


def _other(owner: nn.Module) -> TokenPlace | None:
    """Tokens of its own or patches, of an unknown number."""
    extra = tuple(_extra_tokens(owner))
    has_patches = any(isinstance(getattr(owner, name, None), nn.Module) for name in PATCHES)
    if not extra and not has_patches:
        return None
    return TokenPlace(None, None if extra else 0, True, extra)


def _extra_tokens(owner: nn.Module) -> Iterator[str]:
    """Names of the tokens among the parameters of ``owner`` and of its embeddings."""
    yield from _token_names(owner)
    for name, child in owner.named_children():
        if "embed" in name:
            yield from (f"{name}.{token}" for token in _token_names(child))


def _token_names(owner: nn.Module) -> Iterator[str]:
    return (n for n, _ in owner.named_parameters(recurse=False) if EXTRA_TOKEN.fullmatch(n))


def _grid(owner: Any) -> Size | None:
    """(H, W) in patches, if ``owner`` says the sizes of image and patch."""
    image = _pair(getattr(owner, "image_size", None))
    patch = _pair(getattr(owner, "patch_size", None))
    if image is None or patch is None:
        return None
    return image[0] // patch[0], image[1] // patch[1]


def _pair(size: Any) -> Size | None:
    """(H, W) of a number or of two; none of three, as of a video."""
    if isinstance(size, int):
        return size, size
    if size is None or len(size) != 2:
        return None
    return int(size[0]), int(size[1])
